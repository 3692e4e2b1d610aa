//! How a cluster comes to be: attempts go on until one succeeds or an operator ends them, and what was declared wrongly can be
//! declared anew, as long as no attempt can have opened a server.

use millrace_schemas::cluster::{ClusterSpec, Mode};
use millrace_schemas::topics::actions::{Action, ActionKind};
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Command, Fact, Outcome};

use super::stage::{Stage, id};

fn spec(template: &str) -> ClusterSpec {
    ClusterSpec { template: Some(template.to_owned()), ..examples::spec() }
}

/// An operator has declared it, with a template that is not there; no agent has anything to tell.
fn declared() -> Stage {
    let mut stage = Stage::undeclared(examples::spec());
    for tells in &mut stage.tells {
        tells.silent = true;
    }
    stage.say(None, Fact::Command(Command::CreateCluster(Box::new(spec("wrong")))));
    stage
}

fn templates(actions: &[Action]) -> Vec<String> {
    let template = |action: &Action| match &action.kind {
        ActionKind::CreateCluster(spec) => spec.template.clone(),
        ActionKind::FailOver(_) | ActionKind::Rejoin(_) => None,
    };
    actions.iter().filter_map(template).collect()
}

fn given_up(stage: &mut Stage, may_have_opened: bool) {
    let action = stage.actions().pop().expect("one is under way");
    stage.claim(&action, "executor/a");
    stage.end(&action, Outcome::Abandoned { reason: "no template".to_owned(), may_have_opened });
}

#[test]
fn attempts_go_on_until_the_mode_says_observe() {
    let mut stage = declared();
    given_up(&mut stage, false);
    stage.seconds(6);
    assert_eq!(templates(&stage.actions()), ["wrong", "wrong"]);
    given_up(&mut stage, false);
    stage.say(None, Fact::Command(Command::SetMode { mode: Mode::Observe }));
    stage.seconds(60);
    assert_eq!(stage.actions().len(), 2, "the operator has ended the attempts");
    stage.say(None, Fact::Command(Command::SetMode { mode: Mode::Auto }));
    stage.seconds(6);
    assert_eq!(stage.actions().len(), 3);
}

#[test]
fn what_was_declared_wrongly_is_declared_anew() {
    let mut stage = declared();
    stage.say(None, Fact::Command(Command::CreateCluster(Box::new(spec("right")))));
    assert_eq!(templates(&stage.actions()), ["wrong"], "not while an attempt is under way");
    given_up(&mut stage, false);
    stage.say(None, Fact::Command(Command::CreateCluster(Box::new(spec("right")))));
    assert_eq!(templates(&stage.actions()), ["wrong", "right"]);
    assert_eq!(stage.state().spec, Some(spec("right")));
    let action = stage.actions().pop().expect("it was decided");
    stage.claim(&action, "executor/a");
    stage.end(&action, Outcome::Done { primary: id(0) });
    stage.say(None, Fact::Command(Command::CreateCluster(Box::new(spec("another")))));
    assert_eq!(stage.state().spec, Some(spec("right")), "what was made is declared once");
}

#[test]
fn what_may_have_been_opened_is_not_declared_anew() {
    let mut stage = declared();
    given_up(&mut stage, true);
    let other = ClusterSpec { primary: id(1), ..spec("right") };
    stage.say(None, Fact::Command(Command::CreateCluster(Box::new(other.clone()))));
    assert_eq!(templates(&stage.actions()), ["wrong"], "two servers of it could be open");
    // An attempt that nobody ended may have opened it too.
    let mut stage = declared();
    let action = stage.actions().pop().expect("it was decided");
    stage.claim(&action, "executor/a");
    stage.say(None, Fact::Command(Command::SetMode { mode: Mode::Observe }));
    stage.seconds(200);
    assert!(stage.state().current.is_none(), "its deadline has passed");
    stage.say(None, Fact::Command(Command::CreateCluster(Box::new(other))));
    assert_eq!(templates(&stage.actions()), ["wrong"]);
}
