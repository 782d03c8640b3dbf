"""Reading tables from outside of agents: who owns a row, what is committed, and asking for it.

`asked` and `owners` decide and are pure; `answers` and `running.committed` are the worker's side,
`router` and `query` the asker's. HTTP lies between them (`flowstream.web`).
"""
