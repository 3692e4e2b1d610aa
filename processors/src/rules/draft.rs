//! Rules as they are written: a section of TOML enters, a draft leaves, whose every value knows where it stands. Drafts of the
//! user's file lie over those of the same name that are shipped. Nothing is judged here but what a key may hold; whether a rule
//! makes sense is `check`'s to say.

use std::time::Duration;

use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::sections::{Problems, Section};
use millrace_schemas::topics::alerts::Severity;

use super::rule::Role;

/// A value and where it stands.
pub(super) type Given<T> = Option<(T, usize)>;

/// The parts of a limit.
#[derive(Clone, Debug, Default)]
pub(super) struct LimitDraft {
    pub(super) above: Given<f64>,
    pub(super) below: Given<f64>,
    pub(super) clear: Given<f64>,
    pub(super) critical: Given<f64>,
    pub(super) lasts: Given<Duration>,
    pub(super) within: Given<Duration>,
    pub(super) clear_within: Given<Duration>,
    pub(super) critical_within: Given<Duration>,
}

/// How the number is made.
#[derive(Clone, Debug, Default)]
pub(super) struct JudgeDraft {
    pub(super) judge: Given<String>,
    pub(super) metric: Given<String>,
    pub(super) per: Given<String>,
    pub(super) only: Given<Vec<(String, String)>>,
    pub(super) role: Given<Role>,
    pub(super) span: Given<Duration>,
    pub(super) reaches: Given<f64>,
    pub(super) only_below: Given<f64>,
    pub(super) minimum: Given<f64>,
    pub(super) against: Given<Vec<String>>,
}

/// Another limit somewhere.
#[derive(Clone, Debug)]
pub(super) struct OverrideDraft {
    pub(super) at: usize,
    pub(super) cluster: Option<ClusterId>,
    pub(super) instance: Option<InstanceId>,
    pub(super) off: Given<bool>,
    pub(super) limit: LimitDraft,
}

/// A rule.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) name: (String, usize),
    pub(super) severity: Given<Severity>,
    pub(super) summary: Given<String>,
    pub(super) runbook: Given<String>,
    pub(super) notifies: Given<bool>,
    pub(super) off: Given<bool>,
    pub(super) judge: JudgeDraft,
    pub(super) limit: LimitDraft,
    pub(super) overrides: Vec<OverrideDraft>,
    /// It is the user's, or changed by the user.
    pub(super) changed: bool,
}

/// Every rule of a file.
pub(super) fn read_all(root: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<Draft> {
    let sections = root.sections("rule", problems);
    sections.into_iter().filter_map(|section| read(section, problems)).collect()
}

fn read(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Draft> {
    let name = section.required("name", problems);
    let severity = word(&mut section, "severity", problems, str::parse);
    let summary = section.text("summary", problems);
    let runbook = section.text("runbook", problems);
    let notifies = section.flag("notifies", problems);
    let off = section.flag("off", problems);
    let judge = JudgeDraft {
        judge: section.text("judge", problems),
        metric: section.text("metric", problems),
        per: section.text("per", problems),
        only: section.texts("only", problems),
        role: word(&mut section, "role", problems, role),
        span: section.duration("span", problems),
        reaches: section.float("reaches", problems),
        only_below: section.float("only-below", problems),
        minimum: section.float("minimum", problems),
        against: section.has("against").then(|| section.at_key("against")).map(|at| {
            let texts = section.all_parsed("against", problems, |text| Ok::<_, String>(text.to_owned()));
            (texts, at)
        }),
    };
    let limit = limit(&mut section, problems);
    let overrides = section.sections("override", problems);
    let overrides = overrides.into_iter().map(|one| overridden(one, problems)).collect();
    section.finish(problems);
    Some(Draft { name: name?, severity, summary, runbook, notifies, off, judge, limit, overrides, changed: false })
}

fn overridden(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> OverrideDraft {
    let cluster = section.optional("cluster", problems, |text| ClusterId::parse(text));
    let instance = section.optional("instance", problems, |text| InstanceId::parse(text));
    if !section.has("cluster") && !section.has("instance") {
        problems.note(section.at(), "an override names a cluster, an instance, or both: else change the rule itself");
    }
    let off = section.flag("off", problems);
    let limit = limit(&mut section, problems);
    let at = section.at();
    section.finish(problems);
    OverrideDraft { at, cluster, instance, off, limit }
}

fn limit(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> LimitDraft {
    LimitDraft {
        above: section.float("above", problems),
        below: section.float("below", problems),
        clear: section.float("clear", problems),
        critical: section.float("critical", problems),
        lasts: section.duration("for", problems),
        within: section.duration("within", problems),
        clear_within: section.duration("clear-within", problems),
        critical_within: section.duration("critical-within", problems),
    }
}

/// One of some words.
fn word<T>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    problems: &mut Problems<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Given<T> {
    let at = section.at_key(key);
    section.optional(key, problems, parse).map(|one| (one, at))
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "primary" => Ok(Role::Primary),
        "replica" => Ok(Role::Replica),
        _ => Err(format!("\"{text}\" is no role: give \"primary\" or \"replica\"")),
    }
}

impl Draft {
    /// This draft of the user's file over `base`, which is shipped: what it does not give stays. Where it names a judge or a metric,
    /// it gives the whole condition.
    pub(super) fn over(self, base: &Self) -> Self {
        let at = self.name.1;
        let anew = self.judge.judge.is_some() || self.judge.metric.is_some();
        let (judge, limit) = if anew {
            (self.judge, self.limit)
        } else {
            (self.judge.over(&base.judge, at), self.limit.over(&base.limit, at))
        };
        // Limits of single instances are of the condition.
        let kept = base.overrides.iter().filter(|_| !anew).cloned();
        Self {
            name: self.name,
            severity: moved(self.severity, base.severity.as_ref(), at),
            summary: moved(self.summary, base.summary.as_ref(), at),
            runbook: moved(self.runbook, base.runbook.as_ref(), at),
            notifies: moved(self.notifies, base.notifies.as_ref(), at),
            off: self.off,
            judge,
            limit,
            overrides: kept.chain(self.overrides).collect(),
            changed: true,
        }
    }
}

/// `own`, or else what `base` has, as if it stood at `at`.
fn moved<T: Clone>(own: Given<T>, base: Option<&(T, usize)>, at: usize) -> Given<T> {
    own.or_else(|| base.map(|(value, _)| (value.clone(), at)))
}

impl JudgeDraft {
    fn over(self, base: &Self, at: usize) -> Self {
        Self {
            judge: moved(self.judge, base.judge.as_ref(), at),
            metric: moved(self.metric, base.metric.as_ref(), at),
            per: moved(self.per, base.per.as_ref(), at),
            only: moved(self.only, base.only.as_ref(), at),
            role: moved(self.role, base.role.as_ref(), at),
            span: moved(self.span, base.span.as_ref(), at),
            reaches: moved(self.reaches, base.reaches.as_ref(), at),
            only_below: moved(self.only_below, base.only_below.as_ref(), at),
            minimum: moved(self.minimum, base.minimum.as_ref(), at),
            against: moved(self.against, base.against.as_ref(), at),
        }
    }
}

impl LimitDraft {
    /// This limit over `base`. Where the limit itself is another one, `clear` keeps its proportion to it, and a second limit stays
    /// while it is still beyond the first.
    pub(super) fn over(self, base: &Self, at: usize) -> Self {
        let times = |own: &Given<f64>, base: &Given<f64>| {
            own.as_ref()
                .zip(base.as_ref())
                .filter(|(_, (base, _))| *base != 0.0)
                .map(|((own, _), (base, _))| own / base)
        };
        let scaled = times(&self.above, &base.above).or_else(|| times(&self.below, &base.below));
        let replaced = self.above.is_some() || self.below.is_some();
        let clear = if replaced {
            scaled.zip(base.clear).map(|(times, (clear, _))| (clear * times, at))
        } else {
            moved(None, base.clear.as_ref(), at)
        };
        let stands = |(critical, _): &&(f64, usize)| {
            self.above.is_none_or(|(above, _)| *critical > above)
                && self.below.is_none_or(|(below, _)| *critical < below)
        };
        let within_replaced = self.within.is_some();
        let critical_within = base.critical_within.as_ref();
        let critical_within =
            critical_within.filter(|(critical, _)| self.within.is_none_or(|(within, _)| *critical < within));
        Self {
            critical: moved(self.critical, base.critical.as_ref().filter(stands), at),
            clear: self.clear.or(clear),
            above: moved(self.above, base.above.as_ref().filter(|_| self.below.is_none()), at),
            below: moved(self.below, base.below.as_ref().filter(|_| self.above.is_none()), at),
            lasts: moved(self.lasts, base.lasts.as_ref(), at),
            within: moved(self.within, base.within.as_ref(), at),
            clear_within: moved(self.clear_within, base.clear_within.as_ref().filter(|_| !within_replaced), at),
            critical_within: moved(self.critical_within, critical_within, at),
        }
    }
}
