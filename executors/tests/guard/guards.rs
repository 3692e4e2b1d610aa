//! Guards that are doubled, end, or die; agents that come and go.

use std::process::Stdio;

use millrace_executors::guard::{ExitCause, Request, Server, spawn};
use millrace_executors::hands::process::Process;
use millrace_mysql::Flavour;
use millrace_schemas::ids::Epoch;
use millrace_test_servers::eventually;
use rustix::process::Signal;

use crate::place::{Place, WITHIN, send};

#[tokio::test]
async fn a_second_guard_is_refused_and_the_first_goes_on() {
    let place = Place::start(Flavour::MariaDb).await;
    let (guard, server) = (place.guard_pid(), place.server_pid());
    let second = std::process::Command::new(&place.program)
        .args(["guard", "--dir"])
        .arg(place.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert!(said.contains(&format!("a guard with process id {guard} runs already")), "{said}");
    let state = Place::ready(&place.client()).await;
    assert_eq!((state.guard_pid, state.server.process().unwrap().pid), (guard, server));
}

/// The agent that started guard and server dies by SIGKILL, with its whole process group.
#[tokio::test]
async fn the_death_of_the_agent_leaves_guard_and_server_running() {
    let place = Place::make(Flavour::MariaDb).await;
    let guard = place.guard_pid();
    place.process.stop(Epoch(1), WITHIN).await.unwrap();
    send(guard, Signal::TERM);
    eventually("the guard leaves", async || place.process.guard().state().is_none().then_some(())).await;
    // A shell in a group of its own starts the guard as an agent would, and is killed with its group.
    let mut agent = std::process::Command::new("sh");
    std::os::unix::process::CommandExt::process_group(&mut agent, 0);
    // It lives until it is killed, or until this test ends and with it the shell's input.
    let script = format!("{} guard --dir {} & read -r forever", place.program.display(), place.dir().display());
    let log = std::fs::File::options().append(true).open(place.dir().join("guard.log")).unwrap();
    let agent = agent.args(["-c", &script]).stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let mut agent = agent.unwrap();
    Place::ready(place.process.guard()).await;
    place.process.start_closed(Epoch(2), false, WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    let (guard, server) = (place.guard_pid(), place.server_pid());
    let group = rustix::process::Pid::from_raw(agent.id().cast_signed()).unwrap();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    agent.wait().unwrap();
    let state = Place::ready(&place.client()).await;
    assert_eq!((state.guard_pid, state.server.process().unwrap().pid), (guard, server));
    place.run(&["SELECT 1"]).await;
}

#[tokio::test]
async fn every_client_sees_an_exit() {
    let place = Place::start(Flavour::MariaDb).await;
    let clients = [place.client(), place.client()];
    for client in &clients {
        Place::ready(client).await;
    }
    send(place.server_pid(), Signal::KILL);
    for client in &clients {
        let mut states = client.states();
        let down = states.wait_for(|state| state.as_ref().is_some_and(|state| state.server == Server::Down));
        let told = tokio::time::timeout(WITHIN, down).await.expect("an exit is told").unwrap().clone().unwrap();
        let hold = told.hold.expect("a crashed server is held down");
        assert!(hold.epoch.is_none() && hold.lapses_boot_us.is_some(), "{hold:?}");
    }
}

async fn a_guard_that_gets_sigterm_closes_stops_and_leaves(flavour: Flavour) {
    let place = Place::start(flavour).await;
    let server = place.server_pid();
    send(place.guard_pid(), Signal::TERM);
    eventually("the guard leaves", async || place.process.guard().state().is_none().then_some(())).await;
    eventually("the server is gone", async || {
        (!std::path::Path::new(&format!("/proc/{server}")).exists()).then_some(())
    })
    .await;
    let left: millrace_executors::guard::State =
        serde_json::from_slice(&std::fs::read(place.dir().join("guard.state")).unwrap()).unwrap();
    let exit = left.last_exit.unwrap();
    assert_eq!((exit.cause, exit.code, exit.signal), (ExitCause::Asked, Some(0), None), "stopped in good order");
    // The next guard starts it again, closed: the machine was only restarted.
    Process::ensure_guard(&place.program, &place.instance).await.unwrap();
    place.closed_after(server).await;
}

#[tokio::test]
async fn a_guard_that_gets_sigterm_stops_mysql() {
    a_guard_that_gets_sigterm_closes_stops_and_leaves(Flavour::MySql).await;
}

#[tokio::test]
async fn a_guard_that_gets_sigterm_stops_mariadb() {
    a_guard_that_gets_sigterm_closes_stops_and_leaves(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_guard_that_was_killed_is_replaced_and_the_server_never_notices() {
    let place = Place::start(Flavour::MariaDb).await;
    place.process.hold(Epoch(7)).await.unwrap();
    let (guard, server) = (place.guard_pid(), place.server_pid());
    send(guard, Signal::KILL);
    eventually("the guard is gone", async || place.process.guard().state().is_none().then_some(())).await;
    spawn(&place.program, place.dir()).unwrap();
    let state = Place::ready(place.process.guard()).await;
    assert_ne!(state.guard_pid, guard);
    assert_eq!(state.server.process().unwrap().pid, server);
    let refused = place.process.guard().ask(Request::Start { epoch: Epoch(6), superseded: false }).await;
    assert!(refused.is_err(), "promises survive the guard");
    send(server, Signal::KILL);
    let exit = place.exit(server).await;
    assert_eq!((exit.cause, exit.code, exit.signal), (ExitCause::Unknown, None, None));
    assert!(place.state().is_held_down_for(Epoch(7)));
}

#[tokio::test]
async fn a_client_that_sends_nonsense_is_dropped_and_harms_nobody() {
    use std::io::{ErrorKind, Read, Write};
    let place = Place::make(Flavour::MariaDb).await;
    for nonsense in [&b"{\"id\":1,\"do\":\"explode\"}\n"[..], &[b'x'; 10_000], b"\n", b"\xff\xfe\n"] {
        let mut stream = std::os::unix::net::UnixStream::connect(place.dir().join("guard.sock")).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        let _ = stream.write_all(nonsense);
        let mut said = Vec::new();
        // Ends when the guard closes the connection; a reset is as good, and silence is not.
        let ended = stream.read_to_end(&mut said).map_err(|error| error.kind());
        assert!(!matches!(ended, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "still connected after {WITHIN:?}");
        assert!(!String::from_utf8_lossy(&said).contains("\"answer\""));
    }
    place.process.guard().ask(Request::State).await.unwrap();
}

#[tokio::test]
async fn the_socket_and_the_state_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::make(Flavour::MariaDb).await;
    for file in ["guard.sock", "guard.state", "guard.pid", "guard.lock"] {
        // The first state is written after the socket answers.
        let path = place.dir().join(file);
        let found = millrace_test_servers::eventually(file, async || std::fs::metadata(&path).ok()).await;
        let mode = found.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
}
