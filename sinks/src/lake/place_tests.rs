//! A bucket of a real server that speaks S3.

use millrace_test_servers::Store as Server;

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
        Location::S3(Bucket { name, prefix, endpoint, region, credentials_file: Some(file.clone()) })
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
