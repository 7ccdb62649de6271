//! A configuration is applied when it was meant, and noticed wherever its name leads.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::get;
use chaos_tests::{SOON, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn an_emptied_configuration_unpublishes_nothing() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&proxy::to(&[origin.address]));
    let whole = fs::read_to_string(proxy.config()).unwrap();
    let cut = &whole[..whole.len() / 2];
    for (n, text) in ["", "\n", "# to be done\n", "---\n", cut].iter().enumerate() {
        let refused = proxy.metric("outrigger_reloads_total", &["refused"]);
        // In place, as an editor or `cp` writes.
        fs::write(proxy.config(), text).unwrap();
        if n % 2 == 0 {
            proxy.signal(Signal::SIGHUP);
        }
        wait_for(&format!("a refusal of {text:?}"), SOON, || {
            proxy.metric("outrigger_reloads_total", &["refused"])[0] > refused[0]
        });
        assert!(proxy.log().contains("the configuration stays as it was"), "{}", proxy.log());
        assert_eq!(get(proxy.address, "a", "/").status(), 200, "{text:?}");
    }
    assert_eq!(proxy.metric("outrigger_reloads_total", &["applied"]), [0.0]);
    fs::write(proxy.config(), whole).unwrap();
    proxy.signal(Signal::SIGHUP);
    wait_for("a reload", SOON, || proxy.metric("outrigger_reloads_total", &["applied"])[0] > 0.0);
}

#[test]
fn a_configuration_is_noticed_through_links() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    for case in ["the link's file is written", "the link's file is replaced", "the link to the folder is moved"] {
        let proxy = Proxy::start(&proxy::to(&[old.address]));
        let folder = proxy.config().parent().unwrap().to_owned();
        let (one, two) = (folder.join("one"), folder.join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let text = fs::read_to_string(proxy.config()).unwrap();
        fs::write(one.join("f.yaml"), &text).unwrap();
        symlink("one", folder.join("current")).unwrap();
        symlink("current/f.yaml", folder.join("link")).unwrap();
        fs::rename(folder.join("link"), proxy.config()).unwrap();
        // The same text: nothing is reloaded, and what comes is a change behind the links alone.
        let text = text.replace(&old.address.to_string(), &new.address.to_string());
        std::thread::sleep(Duration::from_millis(600));
        match case {
            "the link's file is written" => fs::write(one.join("f.yaml"), text).unwrap(),
            "the link's file is replaced" => {
                fs::write(two.join("f.yaml"), text).unwrap();
                fs::rename(two.join("f.yaml"), one.join("f.yaml")).unwrap();
            }
            _ => {
                fs::write(two.join("f.yaml"), text).unwrap();
                symlink("two", folder.join("next")).unwrap();
                fs::rename(folder.join("next"), folder.join("current")).unwrap();
            }
        }
        wait_for(case, SOON, || get(proxy.address, "a", "/").field("x-served-by") == Some("new"));
        assert_eq!(proxy.metric("outrigger_reloads_total", &["applied"]), [1.0], "{case}");
    }
}

#[test]
fn a_log_of_everything_beside_the_configuration_does_not_feed_itself() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    let mut log = None;
    // Followed in the same folder.
    config["registries"] = json!({ "files": { "type": "file", "path": "services.yaml" } });
    config["services"]["other"] = json!({ "registry": "files" });
    let proxy = Proxy::start_with(&config, |command| {
        let file = command.get_args().nth(2).map(std::path::PathBuf::from).unwrap().with_file_name("log");
        fs::write(file.with_file_name("services.yaml"), "services: {other: ['127.0.0.1:1']}\n").unwrap();
        command.current_dir(file.parent().unwrap()).env("RUST_LOG", "trace");
        command.stdout(Stdio::null()).stderr(fs::File::create(&file).unwrap());
        log = Some(file);
    });
    proxy.wait_ready();
    let size = || fs::metadata(log.as_ref().unwrap()).unwrap().len();
    // Over a second of nothing to do, there is next to nothing to say.
    wait_for("a quiet second", SOON, || {
        let before = size();
        std::thread::sleep(Duration::from_secs(1));
        size() - before < 64 << 10
    });
}

#[test]
fn what_is_no_file_holds_up_no_later_configuration_and_is_said_once() {
    let [old, new] = ["old", "new"].map(Origin::named);
    for kind in ["a FIFO", "a directory", "a device", "a socket"] {
        let proxy = Proxy::start(&proxy::to(&[old.address]));
        let path = proxy.config();
        let text = fs::read_to_string(path).unwrap().replace(&old.address.to_string(), &new.address.to_string());
        fs::remove_file(path).unwrap();
        match kind {
            "a FIFO" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
            "a directory" => fs::create_dir(path).unwrap(),
            "a device" => symlink("/dev/zero", path).unwrap(),
            _ => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        }
        let said = || proxy.log().matches(&format!("is {kind}, and only a file is read again")).count();
        wait_for(&format!("a word on {kind}"), SOON, || said() == 1);
        // Eight looks: what does not change is not news.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!((said(), get(proxy.address, "a", "/").field("x-served-by")), (1, Some("old")), "{}", proxy.log());
        proxy.signal(Signal::SIGHUP);
        wait_for(&format!("an answer to who asks beside {kind}"), SOON, || said() == 2);
        let beside = path.with_file_name("next");
        fs::write(&beside, text).unwrap();
        if kind == "a directory" {
            fs::remove_dir(path).unwrap();
        }
        fs::rename(&beside, path).unwrap();
        wait_for(&format!("the file in the place of {kind}"), SOON, || {
            get(proxy.address, "a", "/").field("x-served-by") == Some("new")
        });
    }
}

#[test]
fn a_start_reads_a_pipe_to_its_end_and_does_not_look_at_it_again() {
    let origin = Origin::named("a");
    let proxy = Proxy::start_with(&proxy::to(&[origin.address]), |command| {
        let path = command.get_args().nth(2).unwrap();
        let (text, mut writer) = std::io::pipe().unwrap();
        // It fits, and the pipe ends with it.
        writer.write_all(&fs::read(path).unwrap()).unwrap();
        let mut piped = Command::new(command.get_program());
        piped.args(["run", "--config", "/dev/stdin"]).stdin(text);
        piped.stdout(Stdio::piped()).stderr(Stdio::piped());
        *command = piped;
    });
    proxy.wait_ready();
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    // Longer than what looks cut off is waited for.
    std::thread::sleep(Duration::from_secs(4));
    assert!(!proxy.log().contains("stays as it was"), "{}", proxy.log());
    assert_eq!(proxy.metric("outrigger_reloads_total", &["refused"]), [0.0]);
    proxy.signal(Signal::SIGHUP);
    wait_for("an answer to who asks", SOON, || proxy.log().contains("is a FIFO, and only a file is read again"));
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
}
