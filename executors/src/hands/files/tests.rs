//! Instance folders: made once, never over anybody else's files. The template here is a small imitation; real ones are used in
//! the tests of the guard.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

struct Place {
    folder: TempDir,
    template: Template,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("template").join(name);
        fs::create_dir_all(at("data/mysql")).unwrap();
        fs::write(at("data/ibdata1"), vec![7; 100_000]).unwrap();
        fs::write(at("data/mysql/user.frm"), "user").unwrap();
        let mut accounts = Vec::new();
        for account in ["agent", "pulse", "replication", "application"] {
            fs::write(at(account), format!("secret of {account}")).unwrap();
            let file = at(account);
            accounts.push(format!("[accounts.{account}]\nuser = \"{account}\"\npassword-file = {file:?}\n"));
        }
        let data = at("data");
        let text = format!(
            "flavour = \"mysql\"\nversion = \"9.7.4\"\ndata = {data:?}\nserver = \"/usr/sbin/mysqld\"\nbasedir = \"/usr\"\n\
             plugin-dir = \"/p\"\nlc-messages-dir = \"/m\"\ncharacter-sets-dir = \"/c\"\nclient = \"/usr/bin/mysql\"\n"
        );
        fs::write(at("template.toml"), text + &accounts.concat()).unwrap();
        let template = Template::read(&folder.path().join("template")).unwrap();
        Self { folder, template }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("instances/a-1")
    }

    fn create(&self, new: &NewInstance) -> Result<Instance, FilesError> {
        create_instance(&self.dir(), &self.template, new)
    }
}

fn new() -> NewInstance {
    NewInstance {
        instance: InstanceId::parse("a-1").unwrap(),
        cluster: ClusterId::parse("shop").unwrap(),
        flavour: Flavour::MySql,
        address: "127.0.0.1".into(),
        port: 3311,
        server_id: 11,
        acknowledger: true,
        hold_ms: None,
        close_ms: None,
    }
}

#[test]
fn an_instance_is_made_whole_and_for_its_owner_only() {
    let place = Place::new();
    let made = place.create(&new()).unwrap();
    let dir = place.dir();
    assert_eq!(Instance::read(&dir).unwrap(), Some(made.clone()));
    assert_eq!(fs::read(dir.join("data/ibdata1")).unwrap(), vec![7; 100_000]);
    assert_eq!(fs::read_to_string(dir.join("data/mysql/user.frm")).unwrap(), "user");
    assert_eq!(fs::read_to_string(dir.join("secrets/agent.password")).unwrap(), "secret of agent");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(dir.clone()), mode(dir.join("secrets")), mode(dir.join("data"))], [0o700; 3]);
    assert_eq!(mode(dir.join("secrets/agent.password")), 0o600);
    let guard = GuardFile::read(&dir).unwrap();
    assert_eq!(guard.command, ["/usr/sbin/mysqld".to_owned(), format!("--defaults-file={}/my.cnf", dir.display())]);
    assert_eq!(guard.password_file, dir.join("secrets/agent.password"));
    let target = made.target();
    assert_eq!(target.account.password_file, Some(dir.join("secrets/agent.password")));
    assert!(!dir.join(MAKING).exists());
}

#[test]
fn the_configuration_starts_closed_in_both_flavours() {
    let place = Place::new();
    let lines = |new: &NewInstance| {
        let text = configuration::text(&place.dir(), &place.template, new).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |lines: &[String], line: &str| assert!(lines.iter().any(|one| one == line), "{line}: {lines:#?}");
    let mysql = lines(&new());
    for line in [
        "read-only=ON",
        "super-read-only=ON",
        "skip-replica-start=ON",
        "rpl-semi-sync-source-enabled=OFF",
        "rpl-semi-sync-replica-enabled=ON",
        "sync-relay-log=1",
        "port=3311",
    ] {
        has(&mysql, line);
    }
    let mariadb = lines(&NewInstance { flavour: Flavour::MariaDb, acknowledger: false, ..new() });
    for line in [
        "read-only=ON",
        "skip-slave-start=ON",
        "rpl-semi-sync-master-enabled=OFF",
        "rpl-semi-sync-slave-enabled=OFF",
        "rpl-semi-sync-master-timeout=4294967295",
    ] {
        has(&mariadb, line);
    }
    assert!(
        !mariadb.iter().any(|line| line.starts_with("init-rpl-role")),
        "a primary may be opened again: {mariadb:#?}"
    );
}

#[test]
fn lines_of_the_template_come_before_ours_and_cannot_open_the_server() {
    let place = Place::new();
    let template = Template { extra: "read-only=OFF\nmax-connections=7\n[client]".into(), ..place.template.clone() };
    let text = configuration::text(&place.dir(), &template, &new()).unwrap();
    let find = |line: &str| text.find(line).unwrap_or_else(|| panic!("{line} in {text}"));
    assert!(find("max-connections=7") < find("\n[mysqld]\nuser=").min(find("basedir=")));
    assert!(find("read-only=OFF") < find("read-only=ON"));
    assert!(find("[client]") < text.rfind("[mysqld]").unwrap());
}

#[test]
fn doing_it_twice_changes_nothing() {
    let place = Place::new();
    let first = place.create(&new()).unwrap();
    fs::write(place.dir().join("data/ibdata1"), "grown").unwrap();
    fs::write(place.dir().join(MAKING), "the machine stopped between the last two steps").unwrap();
    assert_eq!(place.create(&new()).unwrap(), first);
    assert_eq!(fs::read_to_string(place.dir().join("data/ibdata1")).unwrap(), "grown");
    assert!(!place.dir().join(MAKING).exists());
}

#[test]
fn a_half_made_folder_is_made_again() {
    let place = Place::new();
    fs::create_dir_all(place.dir().join("data/half")).unwrap();
    fs::write(place.dir().join(MAKING), "").unwrap();
    std::os::unix::fs::symlink(place.folder.path().join("template"), place.dir().join("link")).unwrap();
    place.create(&new()).unwrap();
    assert!(!place.dir().join("data/half").exists() && !place.dir().join("link").exists());
    assert!(place.folder.path().join("template/data/ibdata1").exists(), "what a link points to is not ours");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.dir().join("data")).unwrap();
    fs::write(place.dir().join("data/ibdata1"), "somebody's").unwrap();
    assert!(matches!(place.create(&new()), Err(FilesError::NotOurs { .. })));
    assert_eq!(fs::read_to_string(place.dir().join("data/ibdata1")).unwrap(), "somebody's");
}

#[test]
fn another_instance_in_the_folder_is_named() {
    let place = Place::new();
    place.create(&new()).unwrap();
    let error = place.create(&NewInstance { port: 3312, ..new() }).unwrap_err().to_string();
    assert!(error.ends_with("holds another instance: its port is 3311, not 3312"), "{error}");
    let error = place.create(&NewInstance { flavour: Flavour::MariaDb, ..new() }).unwrap_err();
    assert!(matches!(error, FilesError::Taken { what: "flavour", .. }), "{error}");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_made() {
    let place = Place::new();
    let wrong = place.create(&NewInstance { flavour: Flavour::MariaDb, ..new() }).unwrap_err();
    assert!(matches!(wrong, FilesError::Flavour { .. }), "{wrong}");
    assert!(!place.dir().exists());
    let long = place.folder.path().join("x".repeat(100));
    assert!(matches!(create_instance(&long, &place.template, &new()), Err(FilesError::TooLong { .. })));
    assert!(!long.exists());
    let bad = NewInstance { address: "127.0.0.1\nskip-grant-tables".into(), ..new() };
    assert!(matches!(place.create(&bad), Err(FilesError::Unwritable { what: "address", .. })));
}
