"""A call with recordings: audio in on a real-time timeline, audio out recorded, both compared with the ledger."""
