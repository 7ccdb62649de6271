//! One script of calls, and two servers.

use std::path::Path;

use chaos_tests::toxiproxy::Toxiproxy;

use crate::script::script;
use crate::transcript::{Addresses, Why, answer};

#[test]
fn outrigger_answers_every_call_as_toxiproxy_does_or_as_it_is_written_down() {
    let Some(real) = Toxiproxy::real() else { return };
    let ours = Toxiproxy::outrigger();
    let (real_addresses, our_addresses) = (Addresses::new(), Addresses::new());
    let mut different = Vec::new();
    let mut used = Vec::new();
    let mut compared = 0;
    for (section, calls) in script() {
        for call in calls {
            let (_, real_said) = answer(&real, &real_addresses, &call);
            if call.real_only {
                continue;
            }
            let (our_status, our_said) = answer(&ours, &our_addresses, &call);
            compared += 1;
            let shown = format!("{section}: {}", call.shown());
            match call.but {
                None if real_said == our_said => {}
                None => different.push(format!("{shown}\n--- toxiproxy\n{real_said}\n--- outrigger\n{our_said}\n")),
                Some((why, status, body)) => {
                    used.push(why);
                    if real_said == our_said {
                        different.push(format!("{shown}\nthey agree by now, and {why:?} is no exception any more\n"));
                    } else if our_status != status || !our_said.contains(body) {
                        different.push(format!("{shown}\nexpected {status} with {body}\n--- outrigger\n{our_said}\n"));
                    }
                }
            }
        }
    }
    let count = different.len();
    assert!(different.is_empty(), "{count} answers differ:\n\n{}", different.join("\n"));
    assert!(compared >= 300, "only {compared} calls");
    for why in Why::ALL {
        assert!(used.contains(&why), "no call shows {why:?}");
    }
}

#[test]
fn every_difference_is_written_down_for_users() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/toxiproxy.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for why in Why::ALL {
        assert!(page.contains(why.words()), "docs/toxiproxy.md does not say: {}", why.words());
    }
}
