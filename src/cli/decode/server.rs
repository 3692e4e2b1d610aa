//! `--from SERVER` of a live `millrace decode`: how many statements the server counted meanwhile, and how many of them were in packets.
//! Those that came over a Unix socket, or on another interface, were in none. The server is asked once a second on a thread of its own;
//! each answer is compared once everything before it is decoded, so that both count the same time but for what ends while it answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use millrace_collectors::wire::{Batch, Ended};
use millrace_mysql::{Session, sessions};
use serde::Serialize;

use crate::cli::login::Known;
use crate::cli::output::complain;
use crate::roles::speaker::now;

/// 1 s: one statement more for the server, and at most a second at the end that is not compared.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What the server says, and what packets showed of it.
pub(super) struct Comparison {
    /// The account that asks: what it sends says nothing of the others.
    user: String,
    /// The port of the host that it asks from, where it asks over TCP: its session began before the capture, so that no packet names it.
    asks_from: Option<u16>,
    port: u16,
    answers: Receiver<Answer>,
    /// Since when packets are captured: an earlier answer does not know what no packet could show.
    began_us: Option<i64>,
    /// Answers from before which not everything is decoded yet.
    waiting: VecDeque<Answer>,
    /// The first answer, and the last one that was compared.
    compared: Option<(Answer, Answer)>,
    /// When statements ended that were in packets, and are not compared yet; each for how many.
    ends: VecDeque<(i64, u64)>,
    shown: u64,
}

/// How many statements the others had sent by this time.
#[derive(Clone, Copy)]
struct Answer {
    at_us: i64,
    statements: u64,
}

/// The same in the summary.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Meanwhile {
    /// How long was compared, in microseconds.
    compared_us: i64,
    /// Statements that the server counted in that time, without those of the account that asked.
    statements: u64,
    /// How many of them were in packets.
    shown: u64,
    /// The share, 0 to 1, that was in none.
    unseen_ratio: f64,
    /// What counts those too.
    stands_in: &'static str,
}

impl Comparison {
    /// Begins to ask. An answer that nothing can be made of is an error now, not in the end.
    pub(super) fn begin(known: Known) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let user = known.target.account.user.clone();
        let mut session = runtime.block_on(Session::open(&known.target))?;
        let port = runtime.block_on(session.value("SELECT @@port"))?.and_then(|port| port.parse().ok());
        let Some(port) = port else { anyhow::bail!("{} does not say on which port it listens", known.target.address) };
        let own = "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()";
        let own = runtime.block_on(session.value(own))?.unwrap_or_default();
        let asks_from = own.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let first = runtime.block_on(sessions::statements_by_user(&mut session))?;
        if first.is_empty() {
            anyhow::bail!(
                "{} counts no statements: set performance_schema=ON and restart it, or leave --from out",
                known.target.address
            );
        }
        let (sender, answers) = channel();
        let asker = user.clone();
        // It ends with the process, or with who listens.
        std::thread::spawn(move || {
            let _known = known;
            loop {
                let asked_us = now().0;
                match runtime.block_on(sessions::statements_by_user(&mut session)) {
                    Ok(counted) => {
                        let others = counted.iter().filter(|(user, _)| *user != asker);
                        let statements = others.map(|(_, statements)| statements).sum();
                        // The server adds its sessions up one after the other: what ends meanwhile is in some of them.
                        let at_us = asked_us.midpoint(now().0);
                        if sender.send(Answer { at_us, statements }).is_err() {
                            return;
                        }
                    }
                    Err(error) => return complain(&format!("what the server counts is not known any more: {error}")),
                }
                std::thread::sleep(ASK_EVERY);
            }
        });
        let (waiting, ends) = (VecDeque::new(), VecDeque::new());
        Ok(Comparison { user, asks_from, port, answers, began_us: None, waiting, compared: None, ends, shown: 0 })
    }

    /// Takes what was decoded.
    pub(super) fn take(&mut self, batch: &Batch) {
        let shown = batch.ended.iter().filter(|ended| self.counts(ended));
        let shown: Vec<_> = shown.map(|ended| (end_us(ended), u64::from(ended.sample_factor))).collect();
        self.ends.extend(shown);
        let began_us = *self.began_us.get_or_insert_with(|| now().0);
        self.waiting.extend(self.answers.try_iter().filter(|answer| answer.at_us >= began_us));
        while let Some(answer) = self.waiting.front().copied().filter(|answer| answer.at_us <= batch.until_us) {
            self.waiting.pop_front();
            let mut shown = 0;
            // Nearly in order: what ended later is of the next answer.
            self.ends.retain(|(at_us, stands_for)| {
                let before = *at_us <= answer.at_us;
                shown += if before { *stands_for } else { 0 };
                !before
            });
            match &mut self.compared {
                // What came before the first answer is in it.
                None => self.compared = Some((answer, answer)),
                Some((_, last)) => {
                    self.shown += shown;
                    *last = answer;
                }
            }
        }
    }

    /// Whether the server counts it as a statement of another user than the one who asks.
    fn counts(&self, ended: &Ended) -> bool {
        let is_statement = matches!(ended.command, None | Some("query" | "stmt_execute" | "stmt_bulk_execute"));
        let is_own = ended.user.as_deref() == Some(&self.user) || self.asks_from == Some(ended.client.port());
        is_statement && ended.server.port() == self.port && !is_own
    }

    /// What there is to say; none when not even a second was compared.
    pub(super) fn end(&self) -> Option<Meanwhile> {
        let (first, last) = self.compared.filter(|(first, last)| last.at_us > first.at_us)?;
        let (statements, shown) = (last.statements.saturating_sub(first.statements), self.shown);
        let unseen = statements.saturating_sub(shown);
        let unseen_ratio = if statements == 0 { 0.0 } else { unseen as f64 / statements as f64 };
        let compared_us = last.at_us - first.at_us;
        Some(Meanwhile { compared_us, statements, shown, unseen_ratio, stands_in: "performance_schema" })
    }
}

/// When the server had counted it: at its answer.
fn end_us(ended: &Ended) -> i64 {
    let took = ended.rt_us.map_or(0, |(first, _)| first);
    ended.ts_us.saturating_add(i64::try_from(took).unwrap_or(i64::MAX))
}

impl fmt::Display for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meanwhile { statements, shown, .. } = self;
        let (percent, seconds) = (100.0 * self.unseen_ratio, self.compared_us as f64 / 1e6);
        writeln!(
            f,
            "server       counted {statements} statements of others in {seconds:.1} s; {shown} were in packets"
        )?;
        if self.unseen_ratio == 0.0 {
            return writeln!(f, "             none was missing");
        }
        writeln!(f, "             {percent:.1} % in none; its performance_schema has them: millrace digest --from")
    }
}
