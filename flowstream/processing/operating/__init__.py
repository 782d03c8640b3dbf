"""An app seen from outside of its workers: tables read, apps reset, dead letters redriven."""
