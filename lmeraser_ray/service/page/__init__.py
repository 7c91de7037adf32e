"""The page: the service for people who do not type, as HTML that the server renders.

Here lives what a browser shows: views, templates, style. What a view does, the routes beside it do,
by the same functions. Begin with `views`; `visitor` says who looks. `static/htmx.min.js` is htmx
2.0.11 (0BSD), which loads parts of a page anew; without it every view still works.
"""
