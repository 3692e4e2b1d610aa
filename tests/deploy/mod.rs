//! What `deploy/` tells people to run can be run: the list of topics is the one that the program wants, and every file, command and
//! address that the compose file and its image name is there. (The examples are loaded by `src/config`.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace::config::{self, Bus, Settings};
use millrace::trust::roster_file;
use millrace_schemas::signing::{Entry, Role};

use crate::real::site::millrace;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(file: &str) -> String {
    let path = deploy().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `millrace topics --list` says.
#[test]
fn the_list_of_topics_is_current() {
    let config = deploy().join("examples/kafka-operator.toml");
    let listed = millrace().args(["topics", "--list", "--config"]).arg(config).output().expect("it runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    assert!(listed.contains("| `millrace.journal` | 24 | 3 | 7 days |"), "{listed}");
    let file = text("kafka/topics.md");
    assert!(
        file.ends_with(&listed),
        "deploy/kafka/topics.md is old: its table is what `millrace topics --list --config deploy/examples/kafka-operator.toml` \
         prints:\n{listed}"
    );
}

/// What `millrace metrics` says.
#[test]
fn the_page_of_metrics_is_current() {
    let listed = millrace().arg("metrics").output().expect("it runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    assert!(listed.contains("| `mysql_global_status_threads_running` | gauge | threads |"), "{listed}");
    assert!(
        text("metrics.md").ends_with(&listed),
        "deploy/metrics.md is old: its tables are what `millrace metrics` prints"
    );
}

/// The values of `key: [A, B]` in the compose file, which writes every list of arguments on one line.
fn lists(compose: &str, key: &str) -> Vec<Vec<String>> {
    let bodies =
        compose.lines().filter_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix('[')?.strip_suffix(']'));
    bodies.map(|body| body.split(',').map(|one| one.trim().to_owned()).collect()).collect()
}

fn load(file: &str) -> Settings {
    config::load(&deploy().join("compose").join(file)).unwrap_or_else(|error| panic!("{error}"))
}

/// What a role cannot do without.
fn has_what_it_needs(role: &str, settings: &Settings) -> bool {
    match role {
        "agent" => !settings.agents.is_empty(),
        "sink" => settings.archive.is_some(),
        "console" => settings.console.is_some(),
        "process" | "execute" | "topics" => true,
        _ => false,
    }
}

#[test]
fn every_command_of_the_compose_file_can_be_given_and_finds_its_configuration() {
    let compose = text("compose/compose.yaml");
    let commands = lists(&compose, "command:");
    let mut names = BTreeSet::new();
    for command in &commands {
        let understood = millrace().args(command).arg("--help").output().expect("it runs");
        assert!(understood.status.success(), "{command:?}: {}", String::from_utf8_lossy(&understood.stderr));
        let inside = command.last().expect("a file");
        let file = inside.strip_prefix("/etc/millrace/").expect("where configurations are");
        assert!(compose.contains(&format!("      - ./{file}:{inside}:ro\n")), "{file} is not there for {command:?}");
        let settings = load(file);
        let Bus::Kafka(kafka) = &settings.bus else { panic!("{file} has another bus") };
        let advertised = format!("KAFKA_ADVERTISED_LISTENERS: PLAINTEXT://{}\n", kafka.servers);
        assert!(compose.contains(&advertised), "{file} looks for Kafka at {}", kafka.servers);
        assert_eq!(kafka.replication, 1, "there is one broker");
        assert!(has_what_it_needs(&command[0], &settings), "{file} has not what {} needs", command[0]);
        assert!(names.insert(settings.name), "{file} has the name of another");
    }
    let roles: BTreeSet<&str> = commands.iter().map(|command| command[0].as_str()).collect();
    assert_eq!(roles, BTreeSet::from(["agent", "console", "execute", "process", "sink", "topics"]));
    let files = std::fs::read_dir(deploy().join("compose")).expect("the folder").flatten().map(|file| file.path());
    let configurations = files.filter(|file| file.extension().is_some_and(|kind| kind == "toml")).count();
    assert_eq!(configurations, commands.len(), "a configuration beside the compose file is used by nobody");
}

#[test]
fn the_volumes_of_the_compose_file_are_declared_and_its_image_is_built() {
    let compose = text("compose/compose.yaml");
    let (services, volumes) = compose.split_once("\nvolumes:\n").expect("volumes at the end");
    let declared: BTreeSet<&str> = volumes.lines().filter_map(|line| line.trim().strip_suffix(':')).collect();
    let mounts = services.lines().filter_map(|line| line.strip_prefix("      - ")?.split_once(":/var/lib/"));
    let used: BTreeSet<&str> = mounts.map(|(volume, _)| volume).collect();
    assert_eq!(declared, used);
    assert!(!compose.contains('\t'), "YAML takes no tabs");
    let dockerfile = compose.lines().find_map(|line| line.trim().strip_prefix("dockerfile: ")).expect("one is named");
    let root = deploy().parent().expect("the root").to_owned();
    let image = std::fs::read_to_string(root.join(dockerfile)).expect("the Dockerfile");
    for word in image.split_whitespace().filter(|word| word.starts_with("scripts/")) {
        assert!(root.join(word).exists(), "{dockerfile} runs {word}, which is not there");
    }
}

/// Who copies the examples and enrols the keys as the roster beside them has it is believed.
#[test]
fn the_roster_has_whom_the_examples_of_a_fleet_name() {
    let roster = roster_file::read(&deploy().join("trust/roster.toml")).expect("readable");
    let may = |role: Role, speaks: &dyn Fn(&Entry) -> bool| {
        roster.entries().any(|(_, entry)| entry.roles.contains(&role) && entry.revoked.is_none() && speaks(entry))
    };
    for (role, named) in
        [("agent", Role::Agent), ("process", Role::Process), ("execute", Role::Execute), ("operator", Role::Operator)]
    {
        let example = deploy().join(format!("examples/kafka-{role}.toml"));
        let settings = config::load(&example).unwrap_or_else(|error| panic!("{error}"));
        let believed = match named {
            Role::Agent => settings.agents.iter().all(|agent| may(named, &|entry| entry.hosts.contains(&agent.host))),
            Role::Operator => may(named, &|entry| entry.names.contains(&format!("{}-1000", settings.name))),
            _ => may(named, &|entry| entry.names.contains(&settings.name)),
        };
        assert!(believed, "deploy/trust/roster.toml has no key for {}, of {}", settings.name, example.display());
        assert!(settings.trust.is_some_and(|trust| trust.key_file.is_some()), "{} names no key", example.display());
    }
}
