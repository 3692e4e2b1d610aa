//! A bucket of a real server that speaks S3, in plain text and over TLS.

use millrace_test_servers::{Store as Server, signed};

use super::*;

#[test]
fn a_bucket_has_each_file_whole_and_says_what_is_wrong() {
    let server = Server::s3();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("credentials");
    std::fs::write(&file, "[default]\naws_access_key_id = a-key\naws_secret_access_key = a-secret\n")
        .expect("writable");
    let location = |name: &str| {
        let (endpoint, region) = (Some(server.url()), Some("us-east-1".to_owned()));
        let (name, prefix) = (name.to_owned(), "the/lake".to_owned());
        Location::S3(Bucket { name, prefix, endpoint, region, credentials_file: Some(file.clone()), ca_file: None })
    };
    server.ask("PUT /metrics", "Content-Length: 0\r\n").expect("the bucket is made");
    let mut place = Place::open(&location("metrics")).expect("a way");
    place.ask().expect("it answers, empty as it is");
    let name = "windows/day=2026-01-01/cluster=c.1/003-1-2.parquet";
    assert!(!place.has(name).expect("it answers"));
    place.put(name, b"first".to_vec()).expect("taken");
    place.put(name, b"second".to_vec()).expect("taken");
    assert!(place.has(name).expect("it answers"));
    place.ask().expect("it answers");
    let (path, store) = (place.path(name).expect("a path"), place.store.as_ref().expect("a bucket"));
    assert_eq!(path.as_ref(), format!("the/lake/{name}"));
    let read = place.runtime.block_on(async { store.get(&path).await.expect("it is there").bytes().await });
    assert_eq!(read.expect("whole").as_ref(), b"second");
    let listed = place.runtime.block_on(async { store.list(None).collect::<Vec<_>>().await });
    assert_eq!(listed.len(), 1, "{listed:?}");

    let mut none = Place::open(&location("not-there")).expect("nothing is asked yet");
    let failed = none.put(name, b"third".to_vec()).expect_err("there is no such bucket");
    assert!(matches!(&failed, Failed::Away(why) if why.contains("NoSuchBucket")), "{failed}");
    assert!(!failed.to_string().contains("a-secret"), "{failed}");
    none.ask().expect_err("there is no such bucket");
    drop(server);
    let failed = place.put(name, b"fourth".to_vec()).expect_err("nobody is there");
    assert!(matches!(&failed, Failed::Away(why) if why.contains("refused")), "{failed}");
}

#[test]
fn a_bucket_over_tls_is_reached_by_who_believes_its_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let [authority, certificate, key] = signed(folder.path());
    let server = Server::s3_over_tls([&certificate, &key]);
    let file = folder.path().join("credentials");
    std::fs::write(&file, "aws_access_key_id = a-key\naws_secret_access_key = a-secret\n").expect("writable");
    let location = |ca_file: Option<&std::path::Path>| {
        Location::S3(Bucket {
            name: "metrics".to_owned(),
            prefix: "lake".to_owned(),
            endpoint: Some(server.url().replace("http://127.0.0.1", "https://localhost")),
            region: Some("us-east-1".to_owned()),
            credentials_file: Some(file.clone()),
            ca_file: ca_file.map(ToOwned::to_owned),
        })
    };
    let mut place = Place::open(&location(Some(&authority))).expect("a way");
    let failed = place.put("a/b.parquet", b"first".to_vec()).expect_err("there is no such bucket");
    assert!(matches!(&failed, Failed::Away(why) if why.contains("NoSuchBucket")), "it answers: {failed}");
    let made = place.runtime.block_on(async {
        let put = Request::put(format!("{}/metrics", server.url().replace("http://127.0.0.1", "https://localhost")));
        believing(0, Some(&authority))
            .expect("a client")
            .request(put.body(Full::new(Bytes::new())).expect("a request"))
            .await
    });
    assert!(made.expect("answered").status().is_success());
    place.put("a/b.parquet", b"second".to_vec()).expect("taken");
    assert!(place.has("a/b.parquet").expect("it answers"));
    place.ask().expect("it answers");
    let mut stranger = Place::open(&location(None)).expect("nothing is asked yet");
    let failed = stranger.put("a/c.parquet", b"third".to_vec()).expect_err("nobody here believes who signed");
    assert!(matches!(&failed, Failed::Away(why) if why.contains("certificate")), "{failed}");
    let failed = Place::open(&location(Some(&file))).expect_err("that file has no certificate");
    assert!(matches!(&failed, Failed::Unusable(why) if why.contains("there is none in it")), "{failed}");
}
