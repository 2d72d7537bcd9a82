"""Training loops written for other libraries, run with Clifftop's steps and accountant.

`clifftop.compat.opacus` holds the names of Opacus; `clifftop.compat.lightning` and
`clifftop.compat.transformers` bring private steps to those trainers, each with an optional extra. All
three take the loop as it is: the module's outputs are handed to the loop without their graph, and the
optimiser's step turns the gradients that come back into one private gradient (`clifftop.compat.loop`).
"""
