//! The configuration of `docs/tls.md` works as it stands there.

use std::path::Path;

use chaos_tests::fleet::Origin;
use chaos_tests::foreign;
use chaos_tests::proxy::{Proxy, free_address, outrigger};

use super::stage::{Authority, curl, put, url};

#[test]
fn the_configuration_of_the_page_is_good_and_answers() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tls.md");
    let page = std::fs::read_to_string(page).unwrap();
    let text = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its configuration");
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    authority.issue("shop", &["shop.example"]);
    authority.issue("admin", &["admin.example"]);
    let ca = std::fs::read_to_string(&authority.ca).unwrap();
    put(&folder.path().join("clients.pem"), &ca);
    put(&folder.path().join("partner.pem"), &ca);
    let (origin, listener, admin) = (Origin::named("shop"), free_address(), free_address());
    let text = text
        .replace("/etc/outrigger", &folder.path().display().to_string())
        .replace("127.0.0.1:8443", &listener.to_string())
        .replace("10.0.0.1:3000", &origin.address.to_string());
    let file = folder.path().join("outrigger.yaml");
    std::fs::write(&file, format!("{text}admin: {{ address: \"{admin}\" }}\n")).unwrap();
    let file = file.display().to_string();
    let checked = outrigger(&["check", &file]);
    assert!(checked.status.success(), "{}", foreign::said(&checked));
    let proxy = Proxy::of_file(&file, listener, admin);
    let Some(mut command) = curl(&proxy, &authority.ca, "shop.example") else { return };
    assert_eq!(foreign::finish(command.arg(url(&proxy, "shop.example", "/"))), "shop\n");
}
