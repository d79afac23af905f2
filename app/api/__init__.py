"""HTTP: one file per wire dialect, each a thin translation to and from `app.service`."""
