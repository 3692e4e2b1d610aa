//! `millrace digest --from`: a real server watched by its own counters while statements run whose number is known.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millrace_mysql::Flavour;
use millrace_schemas::digest::Scanner;
use millrace_test_servers::{Options, Server};
use serde_json::Value;

use super::{assert_fits, millrace, schema_of_profile};

/// 300 of each statement: what a server may count wrongly, by 1 or 2 as was measured, is far less.
const RUNS: u64 = 300;
const WRONG_MAX: u64 = 2;
/// Looks of a second each after the first: the statements take less.
const LOOKS: usize = 8;

fn from(server: &Server) -> Command {
    let account = &server.template().accounts.agent;
    let mut command = millrace();
    command.args(["digest", "--limit", "all", "--from", &format!("127.0.0.1:{}", server.port())]);
    command.args(["--user", &account.user, "--password-file"]).arg(&account.password_file);
    command
}

async fn a_server_is_watched(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let mut session = server.session().await;
    // Not `id`: MariaDB prints that as a keyword, ID, and nothing tells how it was written.
    let table = "CREATE TABLE watched (nr INT PRIMARY KEY, c VARCHAR(20))";
    for statement in ["SET GLOBAL read_only = OFF", "USE shop", table] {
        session.execute(statement).await.expect("it answers");
    }
    let mut child = from(&server)
        .args(["-o", "json", "--interval", "1s", "--count", &(LOOKS + 1).to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    lines.next().expect("a profile of the first second").expect("text");
    for at in 0..RUNS {
        session.execute(&format!("INSERT INTO watched VALUES ({at}, 'planted{at}')")).await.expect("inserted");
        session.rows(&format!("SELECT c FROM watched WHERE nr = {at} AND c = 'planted{at}'")).await.expect("a row");
        let refused = session.execute(&format!("INSERT INTO watched VALUES ({at}, 'again')")).await;
        refused.expect_err("the key is there already");
    }
    let mut scanner = Scanner::new();
    let mut of = |sql: &str| scanner.id_of(sql.as_bytes()).to_string();
    let (insert, select) =
        (of("INSERT INTO watched VALUES (1, 'a')"), of("SELECT c FROM watched WHERE nr = 1 AND c = 'a'"));
    let (mut sums, mut told) = ([0_u64; 4], String::new());
    for line in lines {
        let line = line.expect("text");
        assert!(line.starts_with("{\"schema_version\":1,") && !line.contains("planted"), "{line}");
        let profile: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(schema_of_profile(&profile), Vec::<String>::new());
        assert_eq!(profile["inputs"][0]["kind"], "performance_schema");
        for group in profile["groups"].as_array().expect("groups") {
            let number = |name: &str| group[name].as_u64().expect("a number");
            if group["key"] == insert.as_str() {
                sums[0] += number("calls");
                sums[1] += number("errors");
            } else if group["key"] == select.as_str() {
                sums[2] += number("calls");
                sums[3] += number("rows_sent");
            }
        }
        told = line;
    }
    assert!(child.wait().expect("it ends").success());
    let expected = [2 * RUNS, RUNS, RUNS, RUNS];
    let good = sums.iter().zip(expected).all(|(sum, expected)| sum.abs_diff(expected) <= WRONG_MAX);
    assert!(good, "inserts, errors, selects, rows: {sums:?}, not {expected:?}; the last profile: {told}");
    session.close().await;

    let text = from(&server).args(["--interval", "1s", "--count", "1"]).output().expect("it runs");
    assert!(text.status.success(), "{text:?}");
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(text.contains("performance_schema") && text.contains("calls/s"), "{text}");
    assert_fits(&text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_is_watched_by_its_own_counters() {
    a_server_is_watched(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_is_watched_by_its_own_counters() {
    a_server_is_watched(Flavour::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_watch_is_told_why() {
    let mut server = Server::start(Flavour::MariaDb, &Options::default()).await;
    let refused = |output: std::process::Output, part: &str| {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    };
    refused(from(&server).args(["-o", "html"]).output().expect("it runs"), "-o html needs files");
    refused(from(&server).args(["--interval", "1ms"]).output().expect("it runs"), "1s to 1h");
    refused(from(&server).args(["--filter", "query_time > 1s"]).output().expect("it runs"), "summed by digest");
    let mut session = server.session().await;
    let off = "UPDATE performance_schema.setup_consumers SET ENABLED = 'NO' WHERE NAME = 'statements_digest'";
    session.execute(off).await.expect("switched off");
    refused(from(&server).output().expect("it runs"), "statements_digest is off");
    session.close().await;
    server.kill();
    refused(from(&server).output().expect("it runs"), "cannot connect");
}

/// The file that `mysql_config_editor` would write of a path with this account, packed by OpenSSL.
fn login_file(folder: &Path, path: &str, user: &str, password: &str) -> PathBuf {
    let key: [u8; 20] = std::array::from_fn(|at| at as u8 * 11 + 3);
    let mut folded = [0_u8; 16];
    key.iter().enumerate().for_each(|(at, byte)| folded[at % 16] ^= byte);
    let folded = format!("{:032x}", u128::from_be_bytes(folded));
    let mut packed = [&[0; 4][..], &key].concat();
    for line in [format!("[{path}]\n"), format!("user = \"{user}\"\n"), format!("password = \"{password}\"\n")] {
        std::fs::write(folder.join("line"), line).expect("writable");
        let encrypt = ["enc", "-aes-128-ecb", "-K", &folded, "-in", "line"];
        let line = Command::new("openssl").args(encrypt).current_dir(folder).output().expect("openssl runs");
        assert!(line.status.success(), "{line:?}");
        packed.extend((line.stdout.len() as u32).to_le_bytes());
        packed.extend(line.stdout);
    }
    let file = folder.join("login.cnf");
    std::fs::write(&file, packed).expect("writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode is set");
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_path_says_who_asks() {
    let server = Server::start(Flavour::MariaDb, &Options::default()).await;
    let account = &server.template().accounts.agent;
    let password = std::fs::read_to_string(&account.password_file).expect("a password");
    let folder = tempfile::tempdir().expect("a folder");
    let file = login_file(folder.path(), "watch", &account.user, password.trim_end());
    let ask = |path: &str| {
        let address = format!("127.0.0.1:{}", server.port());
        let mut command = millrace();
        command.args(["digest", "--interval", "1s", "--count", "1", "--from", &address, "--login-path", path]);
        command.env("MYSQL_TEST_LOGIN_FILE", &file).env_remove("USER").output().expect("it runs")
    };
    let seen = ask("watch");
    assert!(seen.status.success(), "{seen:?}");
    let missing = ask("wach");
    let error = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(2), "{error}");
    assert!(error.contains("no path has that name") && error.contains("--login-path=wach"), "{error}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("its mode is set");
    let open = String::from_utf8_lossy(&ask("watch").stderr).into_owned();
    assert!(open.contains("chmod 600") && !open.contains(password.trim_end()), "{open}");
}
