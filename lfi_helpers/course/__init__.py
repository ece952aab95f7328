"""The course runner, for maintainers: run notebooks, judge their claims and budgets, report.

Papermill lives only here. Imports the floor (checks, records); must never import a method or
torch, and imports its heavy tools only inside the functions that use them.

notebooks: find them - refusals: what is wrong before a run - worker, watch: one notebook in its
own processes - judge: what its executed copy says - results: records that outlive a run -
schedule: all of them - report, pages, gallery: what people read - anatomy, code_rules,
figure_rules, names: lint.
"""
