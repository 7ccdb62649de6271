//! Names that mean nothing make room, and what a registry knows stays.

use super::*;

fn full(running: &Running) -> bool {
    running.reader.names_full(Instant::now())
}

/// Asks for names, one a millisecond.
async fn ask_all(running: &Running, names: &[&str]) {
    for name in names {
        running.ask(name);
        sleep(Duration::from_millis(1)).await;
    }
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_knows_makes_room_the_oldest_first_and_a_known_one_never() {
    let script = Script::default();
    let running = Running::start(settings(&[]), &script);
    for known in ["cart", "search", "orders", "users"] {
        script.say(known, two());
    }
    let unknown = ["a", "c", "b", "d"];
    unknown.iter().for_each(|name| script.say(name, set(vec![])));
    ask_all(&running, &["cart", "a", "c", "b"]).await;
    assert!(full(&running), "whoever waits for an answer has it before it goes");
    running.ask("search");
    settle().await;
    assert_eq!(running.standing("search"), None);

    sleep(Duration::from_millis(250)).await;
    assert!(!full(&running));
    running.ask("search");
    settle().await;
    let standings = |names: &[&str]| names.iter().map(|name| running.standing(name)).collect::<Vec<_>>();
    let (known, unseen) = (Some(DiscoveryState::Known), Some(DiscoveryState::Unseen));
    assert_eq!(standings(&["cart", "search", "a", "c", "b"]), [known, known, None, unseen, unseen]);
    assert_eq!(script.open(), 4, "the watch of the one that went has ended");
    ask_all(&running, &["orders", "users"]).await;
    assert_eq!(standings(&["cart", "search", "orders", "users"]), [known; 4]);

    sleep(Duration::from_secs(60)).await;
    assert!(full(&running), "known ones make no room");
    running.ask("d");
    settle().await;
    assert_eq!(standings(&["cart", "search", "orders", "users", "d"]), [known, known, known, known, None]);
}

#[tokio::test(start_paused = true)]
async fn a_name_without_an_answer_makes_room_in_five_seconds_or_one_after_a_failure() {
    let script = Script::default();
    let running = Running::start(settings(&[]), &script);
    for known in ["cart", "search"] {
        script.say(known, two());
    }
    script.fail("failed");
    ask_all(&running, &["silent", "silent-too", "failed", "silent-as-well"]).await;
    assert!(full(&running));
    sleep(Duration::from_secs(1)).await;
    assert!(!full(&running));
    running.ask("cart");
    settle().await;
    assert_eq!((running.standing("failed"), running.standing("cart")), (None, Some(DiscoveryState::Known)));

    assert!(full(&running), "a registry that is slow has time to answer");
    sleep(Duration::from_secs(4)).await;
    assert!(!full(&running));
    running.ask("search");
    settle().await;
    assert_eq!((running.standing("silent"), running.standing("search")), (None, Some(DiscoveryState::Known)));
    assert_eq!(running.standing("silent-too"), Some(DiscoveryState::Awaited));
}

#[tokio::test(start_paused = true)]
async fn a_plain_host_makes_room_when_nobody_uses_it() {
    let script = Script::default();
    let running = Running::start(settings(&[]), &script);
    script.say("cart", two());
    for host in ["a.test:80", "b.test:80", "c.test:80", "d.test:80"] {
        assert!(running.reader.demand(Demand::Direct(host.into())));
    }
    settle().await;
    sleep(Duration::from_secs(4)).await;
    assert!(full(&running));
    ["a.test:80", "b.test:80", "d.test:80"].iter().for_each(|host| running.used(host));
    sleep(Duration::from_secs(1)).await;
    running.ask("cart");
    settle().await;
    assert_eq!(running.standing("cart"), Some(DiscoveryState::Known));
    assert_eq!(running.standing("c.test:80"), None);
    assert!(running.standing("a.test:80").is_some());
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_knows_have_a_quarter_of_the_places_at_rest() {
    let script = Script::default();
    let mut settings = settings(&[]);
    settings.names.as_mut().unwrap().max_watches = 16;
    let running = Running::start(settings, &script);
    for n in 0..12 {
        let name = format!("n{n}");
        script.say(&name, set(vec![]));
        running.ask(&name);
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(script.open(), 4, "each is a connection to the registry");
    assert_eq!(running.standing("n11"), Some(DiscoveryState::Unseen));
    for n in 0..12 {
        script.say(&format!("k{n}"), two());
        running.ask(&format!("k{n}"));
    }
    settle().await;
    assert_eq!(running.standing("k11"), Some(DiscoveryState::Known));
}
