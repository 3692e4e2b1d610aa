//! Statements to digest: a collection of what servers are asked, and seeded ones of a grammar, which try the places where values,
//! signs, lists and names can stand. Some are not legal; a server says which.

use millrace::bus::memory::Dice;

/// One of each kind that servers know, with what applications and people write; parted by empty lines.
pub(super) fn collected() -> Vec<String> {
    include_str!("statements.sql")
        .split("\n\n")
        .map(|sql| sql.trim().to_owned())
        .filter(|sql| !sql.is_empty())
        .collect()
}

/// `count` statements, the same every time.
pub(super) fn generated(count: usize) -> Vec<String> {
    let mut grammar = Grammar(Dice::new(7));
    (0..count).map(|_| grammar.statement()).collect()
}

/// How deep expressions nest.
const DEPTH_MAX: usize = 2;

const LITERALS: &[&str] = &[
    "1",
    "-1",
    "'x'",
    "1.5",
    "1e3",
    "0x1f",
    "x'1f'",
    "b'101'",
    "NULL",
    "TRUE",
    "FALSE",
    "\"dq\"",
    "'it''s'",
    "'a\\'b'",
    "_utf8mb4'x'",
    "N'x'",
    "DATE'2020-01-01'",
    "TIMESTAMP '2020-01-01 00:00:00'",
    "+5",
    ".5",
    "'a' 'b'",
];
const COLUMNS: &[&str] = &[
    "a", "b", "`c d`", "t.a", "t1.b", "db1.t.c", "`t`.`a`", "id", "status", "name", "Value", "type", "count", "date",
    "user", "key_id", "größe",
];
const CALLS: &[&str] = &[
    "now()",
    "current_timestamp",
    "curdate()",
    "uuid()",
    "count(*)",
    "rand()",
    "version()",
    "current_user()",
    "utc_timestamp(6)",
    "row_number() over (order by a)",
    "rank() over (partition by b order by 1)",
];
const OF_ONE: &[&str] = &[
    "abs",
    "max",
    "min",
    "sum",
    "lower",
    "count",
    "length",
    "md5",
    "isnull",
    "hex",
    "date",
    "year",
    "json_valid",
    "avg",
    "std",
    "upper",
    "trim",
    "ascii",
    "char_length",
    "bit_count",
];
const OF_TWO: &[&str] =
    &["ifnull", "concat", "mod", "left", "coalesce", "substr", "nullif", "round", "json_extract", "greatest", "instr"];
const OPERATORS: &[&str] = &["+", "-", "*", "/", "%", " div ", " mod ", "|", "&", "^", "<<", ">>", "||"];
const COMPARISONS: &[&str] =
    &["=", "<>", "!=", "<", ">", "<=", ">=", "<=>", "like", "not like", "regexp", "sounds like"];
const TABLES: &[&str] = &["t", "t1", "db1.t", "`my table`", "db1.`t-2`", "users", "Orders"];
const VARIABLES: &[&str] = &["@v", "@`v w`", "@'q'", "@@version", "@@global.max_connections", "@@autocommit"];

struct Grammar(Dice);

impl Grammar {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    /// `text` in `chance` of 100 calls.
    fn maybe(&mut self, chance: usize, text: impl FnOnce(&mut Self) -> String) -> String {
        if self.below(100) < chance { text(self) } else { String::new() }
    }

    fn list(&mut self, most: usize, one: impl Fn(&mut Self) -> String) -> String {
        let count = 1 + self.below(most);
        let all: Vec<String> = (0..count).map(|_| one(self)).collect();
        all.join(self.one(&[", ", ",", " , "]))
    }

    fn statement(&mut self) -> String {
        match self.below(5) {
            0 | 1 => self.select(0),
            2 => self.insert(),
            3 => self.update(),
            _ => self.delete(),
        }
    }

    fn value(&mut self) -> String {
        self.one(LITERALS).to_owned()
    }

    fn expression(&mut self, depth: usize) -> String {
        if depth > DEPTH_MAX {
            return self.value();
        }
        let deeper = depth + 1;
        match self.below(100) {
            0..28 => self.value(),
            28..50 => self.one(COLUMNS).to_owned(),
            50..56 => self.one(CALLS).to_owned(),
            56..64 => format!("{}({})", self.one(OF_ONE), self.expression(deeper)),
            64..69 => format!("{}({}, {})", self.one(OF_TWO), self.expression(deeper), self.expression(deeper)),
            69 => {
                let unit = self.one(&["day", "hour", "minute_second", "month", "week"]);
                format!("date_add({}, interval {} {unit})", self.expression(deeper), self.expression(deeper))
            }
            70..82 => {
                let (left, right) = (self.expression(deeper), self.expression(deeper));
                let blank = self.one(&[" ", "", " "]);
                // Two signs and a blank would begin a comment.
                format!("{left}{blank}{}{blank}{right}", self.one(OPERATORS)).replace("--", "- -")
            }
            82..86 => format!("({})", self.expression(deeper)),
            86..90 => {
                let (when, then) = (self.condition(deeper), self.expression(deeper));
                format!("case when {when} then {then} else {} end", self.expression(deeper))
            }
            90..93 => {
                let kind = self.one(&["char(10)", "signed", "decimal(10,2)", "json", "datetime(6)"]);
                format!("cast({} as {kind})", self.expression(deeper))
            }
            93..96 => format!("({})", self.select(deeper)),
            _ => self.one(VARIABLES).to_owned(),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let deeper = depth + 1;
        match self.below(100) {
            0..45 => {
                let (left, right) = (self.expression(deeper), self.expression(deeper));
                format!("{left} {} {right}", self.one(COMPARISONS))
            }
            45..55 => {
                let among = self.list(4, |grammar| grammar.expression(DEPTH_MAX + 1));
                format!("{} in ({among})", self.one(COLUMNS))
            }
            55..60 => {
                let rows = self.list(3, |grammar| format!("({},{})", grammar.value(), grammar.value()));
                format!("({}, {}) in ({rows})", self.one(COLUMNS), self.one(COLUMNS))
            }
            60..66 => {
                let (from, to) = (self.expression(deeper), self.expression(deeper));
                format!("{} between {from} and {to}", self.one(COLUMNS))
            }
            66..72 => {
                let is = self.one(&["null", "not null", "true", "not false", "unknown"]);
                format!("{} is {is}", self.one(COLUMNS))
            }
            72..78 => format!("not {}", self.expression(deeper)),
            78..84 => format!("exists ({})", self.select(deeper)),
            84..88 => format!("{} in ({})", self.one(COLUMNS), self.select(deeper)),
            _ if depth <= DEPTH_MAX => {
                let (left, right) = (self.condition(deeper), self.condition(deeper));
                format!("({left}) {} {right}", self.one(&["and", "or", "xor", "&&", "AND"]))
            }
            _ => "1=1".to_owned(),
        }
    }

    fn table(&mut self) -> String {
        format!("{}{}", self.one(TABLES), self.one(&["", "", "", " x", " as y"]))
    }

    fn from(&mut self) -> String {
        if self.below(12) == 0 {
            return format!("({}) as d", self.select(DEPTH_MAX));
        }
        let mut from = self.table();
        for _ in 0..self.below(3) {
            let more = match self.below(4) {
                0 => {
                    let join = self.one(&["join", "left join", "inner join", "right outer join", "straight_join"]);
                    format!(" {join} {} on {}", self.table(), self.condition(1))
                }
                1 => format!(" join {} using (a, b)", self.table()),
                2 => format!(", {}", self.table()),
                _ => format!(" natural join {}", self.table()),
            };
            from.push_str(&more);
        }
        from
    }

    fn select(&mut self, depth: usize) -> String {
        let mut sql = format!("select{}", self.one(&[" ", " ", "\n", "\t", " /* c */ "]));
        sql += self.one(&[
            "",
            "",
            "",
            "",
            "distinct ",
            "all ",
            "sql_calc_found_rows ",
            "/*+ max_execution_time(1) */ ",
            "high_priority ",
        ]);
        sql += &self.list(3, |grammar| {
            let expression = grammar.expression(depth + 1);
            format!("{expression}{}", grammar.one(&["", "", " as z", " w"]))
        });
        if self.below(100) < 85 {
            sql = format!("{sql} from {}", self.from());
            sql += &self.maybe(60, |grammar| format!(" where {}", grammar.condition(depth)));
            let group = self.one(&["", " with rollup", ", b", ", 2"]);
            sql += &self.maybe(20, |grammar| format!(" group by {}{group}", grammar.one(COLUMNS)));
            sql += &self.maybe(10, |grammar| format!(" having {}", grammar.condition(depth + 1)));
            let order = self.one(&["a", "1", "2 desc", "a asc, b desc", "rand()", "a, 3"]);
            sql += &self.maybe(30, |_| format!(" order by {order}"));
            sql += self.one(&["", "", "", " limit 5", " limit 5,10", " limit 10 offset 5"]);
        }
        if depth == 0 && self.below(10) == 0 {
            sql += self.one(&[" for update", " lock in share mode", " for share skip locked"]);
        } else if depth == 0 && self.below(12) == 0 {
            sql = format!("{sql} union {}{}", self.one(&["", "all "]), self.select(1));
        }
        sql
    }

    fn insert(&mut self) -> String {
        let head =
            self.one(&["insert into ", "insert ignore into ", "replace into ", "insert low_priority into ", "INSERT "]);
        let into = format!("{head}{}{}", self.one(TABLES), self.one(&["", " (a, b)", " (a, b)"]));
        if self.below(7) == 0 {
            return format!("{into} {}", self.select(1));
        }
        let row = |grammar: &mut Self| format!("({}, {})", grammar.expression(1), grammar.expression(1));
        let rows = match self.below(10) {
            0..5 => self.list(3, |grammar| format!("({}, {})", grammar.value(), grammar.value())),
            5..7 => vec![row(self); 1 + self.below(3)].join(", "),
            _ => self.list(3, row),
        };
        let mut sql = format!("{into} {} {rows}", self.one(&["values", "value", "VALUES"]));
        if !head.starts_with("replace") {
            let to = self.one(&["values(a)", "a+1", "5"]);
            sql += &self.maybe(20, |_| format!(" on duplicate key update a = {to}"));
        }
        sql
    }

    fn update(&mut self) -> String {
        let table = self.table();
        let sets = self.list(3, |grammar| {
            let (column, value) = (grammar.one(COLUMNS), grammar.expression(1));
            format!("{column}{}{value}", grammar.one(&["=", " = ", " := "]))
        });
        let mut sql = format!("update {}{table} set {sets}", self.one(&["", "", "low_priority ", "ignore "]));
        sql += &self.maybe(80, |grammar| format!(" where {}", grammar.condition(1)));
        sql += &self.maybe(20, |_| " order by a limit 3".to_owned());
        sql
    }

    fn delete(&mut self) -> String {
        if self.below(5) == 0 {
            return format!("delete x from t x join t1 y on {}", self.condition(1));
        }
        let mut sql = format!("delete {}from {}", self.one(&["", "", "quick ", "ignore "]), self.one(TABLES));
        sql += &self.maybe(80, |grammar| format!(" where {}", grammar.condition(1)));
        sql += &self.maybe(20, |_| " limit 10".to_owned());
        sql
    }
}
