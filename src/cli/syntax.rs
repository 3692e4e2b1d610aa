//! How statements are to be read, as options say it: two modes of `sql_mode`, and the character set of clients. Logs and standard
//! input do not say either.

use clap::Args;
use millrace_schemas::digest::{Charset, SqlMode, Syntax};

#[derive(Clone, Copy, Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The server's `sql_mode`, as `SELECT @@global.sql_mode` has it: `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES` say where literals
    /// end. Connections in captures that say otherwise are read as they say.
    #[arg(long, value_name = "MODES", default_value = "", hide_default_value = true)]
    sql_mode: SqlMode,
    /// The clients' character set, such as latin1, gbk or sjis: in some, half a character looks like a quote or a backslash.
    #[arg(long, value_name = "NAME", default_value = "utf8mb4")]
    charset: Charset,
}

impl Arguments {
    pub(super) fn syntax(self) -> Syntax {
        Syntax { mode: self.sql_mode, charset: self.charset }
    }
}
