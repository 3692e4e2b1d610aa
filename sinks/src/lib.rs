//! What keeps: archives of the journal, actions and alerts.
