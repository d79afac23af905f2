"""`make bench`: how good the service is, measured against a real process over loopback. `LOG.md` keeps the figures."""
