//! Checks of our own through the real loop: they follow pools and settings, and end with them.

use super::*;
use crate::config::settings::{HealthCheck, Policy, Probe};
use crate::control::health::{Fault, Question};

/// Endpoints by their answers to checks: an address that is in the map fails.
#[derive(Clone, Default)]
struct Doctor(Arc<arc_swap::ArcSwap<HashMap<std::net::SocketAddr, String>>>, Arc<AtomicUsize>);

impl Doctor {
    fn ask(&self) -> Ask {
        let doctor = self.clone();
        Arc::new(move |question: Question| {
            doctor.1.fetch_add(1, Relaxed);
            let ill = doctor.0.load().get(&question.address).cloned();
            Box::pin(async move { ill.map_or(Ok(()), |why| Err(Fault::Theirs(why))) })
        })
    }

    fn ill(&self, ill: &[&str]) {
        let ill = ill.iter().map(|address| (address.parse().unwrap(), "connection refused".into()));
        self.0.store(Arc::new(ill.collect()));
    }

    fn asked(&self) -> usize {
        self.1.swap(0, Relaxed)
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        healthy: 2,
        unhealthy: 3,
        keep_absent: Duration::from_secs(30),
    }
}

fn checked(name: &str) -> Settings {
    let mut settings = settings(&[name]);
    let service = settings.services.get_mut(name).unwrap();
    service.policy = Policy { health_check: Some(check()), ..policy(5) };
    settings
}

fn start(settings: Settings, script: &Script, doctor: &Doctor) -> Running {
    let script = script.clone();
    let registries: RegistryFactory = Box::new(move |settings| Ok(registries(settings, &script)));
    Running::start_asking(settings, registries, doctor.ask())
}

#[tokio::test(start_paused = true)]
async fn who_fails_its_checks_leaves_says_why_and_comes_back() {
    let (script, doctor) = (Script::default(), Doctor::default());
    let running = start(checked("orders"), &script, &doctor);
    script.say("orders", two());
    settle().await;
    let before = running.ids("orders");
    assert_eq!(before.len(), 2);
    let generation = running.reader.generation();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(running.reader.generation(), generation, "good checks publish nothing");
    let status = running.board.read()["orders"].clone();
    assert!(status.checks.len() == 2 && status.checks.values().all(|check| check == "passing"), "{status:?}");
    assert_eq!(status.words, [0, 2, 0]);

    doctor.ill(&["10.0.0.2:80"]);
    sleep(Duration::from_millis(3_100)).await;
    assert_eq!(running.ids("orders"), before[..1]);
    let out = running.board.read()["orders"].left_out.clone();
    let three_or_four = ["3", "4"].map(|n| format!("health check failing: connection refused ({n} in a row)"));
    assert!(three_or_four.contains(&out[0].reason), "{}", out[0].reason);
    assert_eq!(running.board.read()["orders"].words, [0, 1, 1]);
    sleep(Duration::from_secs(10)).await;
    let reason = running.board.read()["orders"].left_out[0].reason.clone();
    assert!(reason != out[0].reason && reason.starts_with("health check failing: connection refused ("), "{reason}");
    assert_eq!(running.reader.generation(), generation + 1, "what is told of a check wakes no worker");

    doctor.ill(&["10.0.0.1:80", "10.0.0.2:80"]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(running.ids("orders").len(), 2, "when all fail, all stay");
    assert!(running.board.read()["orders"].all_failing);

    doctor.ill(&[]);
    sleep(Duration::from_millis(2_100)).await;
    let after = running.ids("orders");
    assert!(after.len() == 2 && after[0] == before[0] && after[1] != before[1], "{before:?} {after:?}");
    assert!(!running.board.read()["orders"].all_failing);
}

#[tokio::test(start_paused = true)]
async fn who_is_lost_and_answers_stays_for_keep_absent() {
    let (script, doctor) = (Script::default(), Doctor::default());
    let running = start(checked("orders"), &script, &doctor);
    script.say("orders", two());
    sleep(Duration::from_secs(2)).await;
    let before = running.ids("orders");
    script.say("orders", set(vec![]));
    settle().await;
    assert_eq!(running.ids("orders"), before);
    assert_eq!(running.board.read()["orders"].absent, before);
    sleep(Duration::from_secs(29)).await;
    assert_eq!(running.ids("orders"), before);
    sleep(Duration::from_millis(2_100)).await;
    assert!(running.ids("orders").is_empty(), "an empty answer is an answer, in the end");
    assert!(running.board.read()["orders"].checks.is_empty());
    doctor.asked();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(doctor.asked(), 0, "nobody is there to be checked");
}

#[tokio::test(start_paused = true)]
async fn checks_follow_the_settings_and_end_with_the_service() {
    let (script, doctor) = (Script::default(), Doctor::default());
    let mut settings = checked("orders");
    let running = start(settings.clone(), &script, &doctor);
    script.say("orders", two());
    script.say("users", two());
    doctor.ill(&["10.0.0.1:80"]);
    running.ask("users");
    sleep(Duration::from_secs(60)).await;
    let asked = doctor.asked();
    assert!((120..=160).contains(&asked), "{asked} checks of two endpoints in a minute: users has none");
    assert_eq!(running.ids("users").len(), 2);
    assert_eq!(running.ids("orders").len(), 1);

    let health_check = |settings: &mut Settings, check: Option<HealthCheck>| {
        settings.services.get_mut("orders").unwrap().policy.health_check = check;
    };
    health_check(&mut settings, Some(HealthCheck { interval: Duration::from_secs(10), ..check() }));
    running.reload(settings.clone()).await.unwrap();
    assert_eq!(running.ids("orders").len(), 1, "another interval forgets nothing");
    sleep(Duration::from_secs(60)).await;
    let asked = doctor.asked();
    assert!((12..=20).contains(&asked), "{asked} checks of two endpoints at the new interval");

    health_check(&mut settings, Some(HealthCheck { port: Some(81), ..check() }));
    running.reload(settings.clone()).await.unwrap();
    assert_eq!(running.ids("orders").len(), 2, "what another question found out is forgotten");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(running.ids("orders").len(), 1);

    health_check(&mut settings, None);
    running.reload(settings.clone()).await.unwrap();
    assert_eq!(running.ids("orders").len(), 2, "without checks the registry alone decides");
    assert!(running.board.read()["orders"].checks.is_empty());
    doctor.asked();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(doctor.asked(), 0);

    health_check(&mut settings, Some(check()));
    running.reload(settings.clone()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(doctor.asked() > 0);
    settings.services.clear();
    running.reload(settings).await.unwrap();
    doctor.asked();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(doctor.asked(), 0, "it ends with the service");
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_as_the_defaults_say_and_plain_hosts_never() {
    let (script, doctor) = (Script::default(), Doctor::default());
    let mut settings = settings(&[]);
    settings.defaults.health_check = Some(check());
    let running = start(settings.clone(), &script, &doctor);
    assert!(running.reader.demand(Demand::Direct("web.test:8080".into())));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(running.ids("web.test:8080").len(), 1);
    assert_eq!(doctor.asked(), 0);
    script.say("cart", two());
    running.ask("cart");
    sleep(Duration::from_secs(5)).await;
    assert!(doctor.asked() >= 10);
    declare_static(&mut settings, "web.test:8080", &[("web.test", 8080)]);
    settings.services.get_mut("web.test:8080").unwrap().policy = settings.defaults.clone();
    running.reload(settings).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(running.board.read()["web.test:8080"].checks.values().all(|check| check == "passing"));
    assert_eq!(running.board.read()["web.test:8080"].checks.len(), 1, "a plain host that is declared is a service");
}
