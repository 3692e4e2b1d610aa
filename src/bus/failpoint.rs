//! Named points at which a test may have the process killed, to see that what was promised survives.
//! Only in builds with debug assertions: a released binary has no way to be told to die.

/// Every failpoint; a test kills a child at each of them.
pub const ALL: [&str; 9] = [
    "append.received",
    "append.inserted",
    "append.committed",
    "append.published",
    "snapshot.written",
    "snapshot.committed",
    "offset.written",
    "offset.committed",
    "retention.deleted",
];

/// The environment variable that names the failpoint to die at.
pub const VARIABLE: &str = "MILLRACE_FAILPOINT";

/// Dies by SIGKILL at a step of a runbook, when the environment asks for `PLACE:STEP`: the places are `step.asked` (the request
/// of an executor is on the bus) and `step.performed` (an agent has done it and not told anybody). With the name of a store for the
/// step they are `store.sent` (it took what no position says yet), `lake.planned` and `lake.written` (before and after its files
/// are there). `before` is done first then.
pub fn at_step(place: &'static str, step: &str, before: impl FnOnce()) {
    #[cfg(debug_assertions)]
    if std::env::var(VARIABLE).is_ok_and(|wanted| wanted.split_once(':') == Some((place, step))) {
        before();
        return die();
    }
    let _ = (place, step, before);
}

/// Dies here by SIGKILL when the environment asks for it.
pub fn failpoint(name: &'static str) {
    debug_assert!(ALL.contains(&name), "{name} is not in the list of failpoints");
    #[cfg(debug_assertions)]
    if std::env::var(VARIABLE).is_ok_and(|wanted| wanted == name) {
        die();
    }
}

#[cfg(debug_assertions)]
fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
