"""Sweeps: notebooks run over a grid of parameters, by several processes or a cluster.

The grid is read and checked (:mod:`.grid`), laid out as steps of which each is taken once (:mod:`.plan`), and the steps
are taken by workers (:mod:`.work`, :mod:`.crew`). What the cells measured ends in one table (:mod:`.measures`).
"""
