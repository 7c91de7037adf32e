"""Which constituents answer a query, and how their answers become one prediction.

Begin with `routes` (who is asked, with which weight, and `combine`); `nearest` is the paper's rule
of the nearest prototype, `answers` what a constituent says. Nothing here runs a model: asking is
`pipeline/answering`.
"""
