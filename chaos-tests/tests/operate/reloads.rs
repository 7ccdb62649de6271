//! A configuration is applied when it was meant, and noticed wherever its name leads.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
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
