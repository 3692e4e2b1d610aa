//! Runbooks (pure), and the hands and the guard that change servers.
