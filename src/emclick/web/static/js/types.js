/**
 * The shapes that travel between the server and the page, and the page's own state. Types only.
 *
 * @typedef {{size: [number, number], counts: string}} Rle COCO RLE: size is [height, width], counts compressed
 * @typedef {{x: number, y: number, positive: boolean}} Click image px, origin at the top-left pixel's centre
 * @typedef {{x: number, y: number, w: number, h: number}} Box whole image px
 * @typedef {{id?: number, name: string, color: string, key?: string | null}} Label without id until the server has it
 * @typedef {"todo" | "work" | "done"} Status
 * @typedef {{id: string, name: string, width: number, height: number, status: Status, objects: number,
 *   version: string, problem: string | null}} ImageEntry width and height are 0 while the server has not measured it
 *
 * @typedef {object} Obj One object as the server describes it
 * @property {string} id
 * @property {string} image
 * @property {string} label
 * @property {string | null} color
 * @property {boolean} visible
 * @property {boolean} locked
 * @property {boolean} finished
 * @property {number} order
 * @property {number} seq
 * @property {Click[]} clicks
 * @property {Rle} rle as shown: with the masks and strokes that are on their way
 * @property {Rle} [base] the server's, while any are
 * @property {number} threshold
 * @property {boolean} can_undo
 * @property {boolean} can_redo
 *
 * @typedef {object} ImageDetail
 * @property {string} id
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {Status} status
 * @property {string} version changes with the file
 * @property {string | null} problem why the image cannot be used
 * @property {number} seq
 * @property {boolean} can_undo
 * @property {boolean} can_redo
 * @property {Obj[]} objects
 *
 * @typedef {object} Answer What a changing object route answers
 * @property {number} seq
 * @property {Rle} rle
 * @property {number} ms
 * @property {Click[]} clicks
 * @property {boolean} can_undo
 * @property {boolean} can_redo
 *
 * @typedef {object} Project
 * @property {string} name
 * @property {string} model
 * @property {string[]} models
 * @property {Label[]} labels
 * @property {{todo: number, work: number, done: number}} counts
 * @property {Record<string, unknown>} settings
 * @property {{name: string, lossy: boolean}[]} formats
 * @property {string} version
 * @property {number} seq of the last change
 * @property {string} id of the project's file, whatever it is called and wherever it is served
 *
 * @typedef {"create" | "click" | "batch" | "remove" | "undo" | "redo" | "reset" | "mask" | "stroke" | "clean" | "patch"
 *   | "delete" | "image-undo" | "image-redo" | "image-patch" | "labels" | "masks" | "import"} CommandKind
 *
 * @typedef {object} Command A change on its way to the server; kept until the server has answered
 * @property {string} key made here, so that sending it twice applies it once
 * @property {CommandKind} kind
 * @property {string} image
 * @property {string} object the server's id, "local:KEY" until the object exists there, "" for image commands
 * @property {string} method
 * @property {string} path with {object} where the object's id belongs; "" until its turn comes, see turn.js
 * @property {Record<string, unknown>} body
 * @property {number} [seq] of the object that it was made for, where its turn has decided that
 * @property {boolean} [again] refused once, as made for an older state, and made anew
 * @property {string} [file] the storage entry with the file that is the request's body, as a data URL
 * @property {number} [at] performance.now() of the pointer press, for the click-to-painted figure
 *
 * @typedef {"click" | "brush" | "erase" | "polygon"} Tool
 *
 * @typedef {object} Settings
 * @property {"auto" | "light" | "dark"} theme
 * @property {number} opacity 0 to 1
 * @property {boolean} outline
 * @property {number} brightness 1 is unchanged
 * @property {number} contrast 1 is unchanged
 * @property {number} brushSize diameter, image px
 * @property {boolean} preview
 * @property {boolean} avoid take the neighbours' area away when an object is finished
 * @property {number} minArea px
 * @property {string} label the current label's name
 * @property {string} image the id of the image opened last
 * @property {Record<string, string[]>} keys changed shortcuts: command -> combinations
 *
 * @typedef {"saved" | "saving" | "offline" | "storage" | "denied"} Connection
 */
export {};
