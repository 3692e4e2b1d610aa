//! Connections to MySQL and MariaDB servers and their typed status; no decisions.
