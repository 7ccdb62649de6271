use futures_util::StreamExt;
use proptest::prelude::*;

use super::*;
use crate::Update;

fn written(text: &str) -> Result<Parsed, String> {
    parse(text.as_bytes(), false)
}

async fn next(watch: &mut Watch) -> Update {
    tokio::time::timeout(Duration::from_secs(60), watch.next()).await.unwrap().unwrap()
}

/// Reads on until the ports are these; fails on an empty set that nobody wrote.
async fn until_ports(watch: &mut Watch, ports: &[u16]) {
    for _ in 0..1_000 {
        if let Update::Set(set) = next(watch).await {
            let now: Vec<_> = set.instances().iter().map(|instance| instance.port).collect();
            assert!(!now.is_empty() || ports.is_empty(), "an emptied set");
            if now == ports {
                return;
            }
        }
    }
    panic!("never {ports:?}");
}

async fn until_failed(watch: &mut Watch) -> String {
    for _ in 0..1_000 {
        match next(watch).await {
            Update::Set(set) => assert!(!set.instances().is_empty(), "an emptied set"),
            Update::Failed(error) => return error.reason,
        }
    }
    panic!("never failed");
}

fn ports(ports: &[u16]) -> String {
    let list: String = ports.iter().map(|port| format!("    - 127.0.0.1:{port}\n")).collect();
    format!("services:\n  a:\n{list}")
}

#[test]
fn both_forms_of_an_instance_are_read() {
    let sets = written(
        "services:\n  a:\n    - 127.0.0.1:1\n    - { address: 'db:2', id: x, weight: 3, zone: z, tags: [t], meta: {k: v}, \
         datacenter: d, health: warning }\n    - { address: 'db:3', weight: 3, health: critical }\n  b: []\n",
    )
    .unwrap();
    let [first, critical, full] = sets[&"a".into()].instances() else { panic!("{sets:?}") };
    assert_eq!((&*first.id.0, first.weight, first.health), ("127.0.0.1:1", 1, Health::Passing));
    assert_eq!((critical.weight, critical.health), (0, Health::Critical));
    assert_eq!((&*full.id.0, full.weight, full.health, full.zone.as_deref()), ("x", 3, Health::Warning, Some("z")));
    assert_eq!((full.tags.len(), full.meta.len(), full.datacenter.as_deref()), (1, 1, Some("d")));
    assert!(sets[&"b".into()].instances().is_empty());
    let json = br#"{"services": {"a": ["127.0.0.1:1", {"address": "db:2", "weight": 3}]}}"#;
    assert_eq!(parse(json, true).unwrap()[&"a".into()].instances().len(), 2);
    assert_eq!(parse(json, false).unwrap(), parse(json, true).unwrap());
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, said) in [
        ("services:\n  a:\n    - 127.0.0.1\n", "no port"),
        ("services:\n  a:\n    - { address: 'x:0' }\n", "1 to 65535"),
        ("services:\n  a:\n    - { address: 'x:1', wieght: 2 }\n", "wieght"),
        ("services:\n  a:\n    - { address: 'x:1', weight: -2 }\n", "line 3"),
        ("services:\n  a:\n    - [1]\n", "line 3"),
        ("services:\n  a: [\n", "line"),
        ("servces: {}\n", "servces"),
        ("- a\n", "line 1"),
    ] {
        let reason = written(text).unwrap_err();
        assert!(reason.contains(said) && reason.contains("line"), "{text:?}: {reason}");
    }
    assert_eq!(written(" \n").unwrap_err(), "the file is empty");
    // How a file looks whose second half is not there yet.
    for cut in
        ["services:", "services:\n", "services:\n  a:", "services:\n  a:\n", "services:\n  a: ~\n", "# x\n", "---\n"]
    {
        assert!(written(cut).is_err(), "{cut:?}: {:?}", written(cut));
    }
    assert!(written("services: {}\n").is_ok() && written("services: {a: []}\n").is_ok());
    assert_eq!(parse(b"a\n\xff", false).unwrap_err(), "line 2: not UTF-8");
    assert!(parse(b"{\n\"services\": 1}", true).unwrap_err().contains("line 2"));
}

#[test]
fn an_instance_listed_twice_is_one_and_named() {
    let sets = written(&ports(&[1, 1])).unwrap();
    let set = &sets[&"a".into()];
    assert_eq!((set.instances().len(), set.skipped().len()), (1, 1));
}

#[test]
fn a_file_that_unfolds_without_end_is_refused() {
    let list = "h:1, ".repeat(10_000);
    let aliases: String = (0..10_000).map(|n| format!("  s{n}: *all\n")).collect();
    let reason = written(&format!("services:\n  s: &all [{list}]\n{aliases}")).unwrap_err();
    assert!(reason.contains("alias") || reason.contains("budget"), "{reason}");
    assert!(written(&"[".repeat(100_000)).is_err());
}

#[tokio::test]
async fn a_replaced_file_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("services.yaml");
    std::fs::write(&path, ports(&[1])).unwrap();
    let mut watch = File::new(&path).watch(&"a".into());
    until_ports(&mut watch, &[1]).await;
    for round in 2..6 {
        let beside = directory.path().join("services.new");
        std::fs::write(&beside, ports(&[1, round])).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        until_ports(&mut watch, &[1, round]).await;
    }
    std::fs::write(&path, ports(&[9])).unwrap();
    until_ports(&mut watch, &[9]).await;
}

#[tokio::test]
async fn a_link_that_is_swapped_beside_the_file_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (version, port) in [("v1", 1), ("v2", 2)] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("services.yaml"), ports(&[port])).unwrap();
    }
    std::os::unix::fs::symlink("v1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/services.yaml", at("services.yaml")).unwrap();
    let mut watch = File::new(at("services.yaml")).watch(&"a".into());
    until_ports(&mut watch, &[1]).await;
    std::os::unix::fs::symlink("v2", at("..tmp")).unwrap();
    std::fs::rename(at("..tmp"), at("..data")).unwrap();
    until_ports(&mut watch, &[2]).await;
    // And the file behind the links, where it now is.
    std::fs::write(at("v2").join("services.yaml"), ports(&[3])).unwrap();
    until_ports(&mut watch, &[3]).await;
}

#[tokio::test]
async fn a_bad_or_missing_file_fails_and_never_empties_the_set() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("services.yaml");
    let file = File::new(&path);
    let mut watch = file.watch(&"a".into());
    assert!(until_failed(&mut watch).await.contains("cannot read it"));
    std::fs::write(&path, ports(&[1])).unwrap();
    until_ports(&mut watch, &[1]).await;
    std::fs::write(&path, "services:\n  a: [\n").unwrap();
    assert!(until_failed(&mut watch).await.contains("line"));
    std::fs::write(&path, "").unwrap();
    assert!(!until_failed(&mut watch).await.is_empty());
    std::fs::remove_file(&path).unwrap();
    while !until_failed(&mut watch).await.contains("cannot read it") {}
    std::fs::write(&path, ports(&[2])).unwrap();
    until_ports(&mut watch, &[2]).await;
    std::fs::write(&path, "services: { a: [] }\n").unwrap();
    until_ports(&mut watch, &[]).await;
}

#[tokio::test]
async fn what_is_no_file_fails_and_holds_up_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("services.yaml");
    std::fs::write(&path, ports(&[1])).unwrap();
    let mut watch = File::new(&path).watch(&"a".into());
    until_ports(&mut watch, &[1]).await;
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    while !until_failed(&mut watch).await.contains("it is not a file") {}
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, ports(&[2])).unwrap();
    until_ports(&mut watch, &[2]).await;
}

#[tokio::test]
async fn a_file_that_does_not_change_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("services.yaml");
    std::fs::write(&path, ports(&[1])).unwrap();
    let file = File::new(&path);
    let mut watch = file.watch(&"a".into());
    until_ports(&mut watch, &[1]).await;
    let before = *file.shared.changes.borrow();
    for _ in 0..20 {
        file.shared.read().await.unwrap();
    }
    // An event is at most a moment away; a change of ours shows that all before it have come.
    std::fs::write(directory.path().join("other"), "x").unwrap();
    let mut changes = file.shared.changes.subscribe();
    tokio::time::timeout(Duration::from_secs(30), changes.wait_for(|now| *now > before)).await.unwrap().unwrap();
    assert!(*file.shared.changes.borrow() <= before + 5, "reading made events");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = parse(text.as_bytes(), false);
        let _ = parse(text.as_bytes(), true);
    }
}
