"""What clicks cost: `emclick bench`.

One process per configuration (`worker`, `processes`), asked in turn (`run`): the threads of a numerical library spin
for a while after a call, and in one process they would take the cores from whoever is measured next. Beside every
configuration stands its floor (`floor`): a matrix product of as many multiply-adds.
"""
