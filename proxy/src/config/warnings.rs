//! What is allowed and hardly meant. It is said at the start, and by `outrigger check`.

use std::net::SocketAddr;

use super::settings::{Settings, Source};

/// A sentence for each, with the key that it is about.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let mut told = Vec::new();
    let open = |address: &SocketAddr| !address.ip().is_loopback();
    if let Some(address) = settings.admin.filter(open) {
        let changes = match settings.admin_access.token_file {
            Some(_) => "changes need the token of `admin.token_file`",
            None => "changes from other machines are refused, since `admin.token_file` is not set",
        };
        told.push(format!("admin.address: {address} is open to whoever reaches it, to read everything; {changes}"));
    }
    if let Some(toxiproxy) = settings.faults.toxiproxy.as_ref().filter(|toxiproxy| open(&toxiproxy.address)) {
        let address = toxiproxy.address;
        told.push(format!(
            "faults.toxiproxy.address: {address} is open to whoever reaches it, to make proxies and faults; Toxiproxy's API \
             knows no password"
        ));
    }
    for (name, service) in &settings.services {
        if !service.tls.trust.verify {
            told.push(format!(
                "services.{name}.tls.insecure_skip_verify: the certificates of its instances are not verified: whoever is on the \
                 way to them can read and change everything"
            ));
        }
        if let Source::Static(instances) = &service.source
            && !instances.is_empty()
            && instances.iter().all(|instance| instance.weight == 0)
        {
            told.push(format!("services.{name}.instances: each has the weight 0, so that none gets a request"));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let loaded = crate::config::parse("f", text, &|_| None, |_| ()).unwrap();
        warnings(&loaded.settings).into_iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_hardly_meant_is_said_and_nothing_else() {
        for (text, keys) in [
            ("services: {a: {}}\nregistries: {consul: {}}", &[] as &[&str]),
            ("admin: {address: '0.0.0.0:1'}", &["admin.address"]),
            ("admin: {address: '10.0.0.1:1', token_file: x}", &["admin.address"]),
            ("admin: {address: '[::]:1'}", &["admin.address"]),
            ("admin: {address: '[::1]:1'}", &[]),
            ("admin: {enabled: false, address: '0.0.0.0:1'}", &[]),
            (
                "faults: {enabled: true, toxiproxy: {enabled: true, address: '0.0.0.0:1'}}",
                &["faults.toxiproxy.address"],
            ),
            ("services: {a: {instances: [{address: 'x:1', weight: 0}]}}", &["services.a.instances"]),
            (
                "services: {a: {instances: ['x:1'], tls: {insecure_skip_verify: true}}}",
                &["services.a.tls.insecure_skip_verify"],
            ),
            ("services: {a: {instances: ['https://x']}, b: {instances: ['x:1'], tls: {ca: f}}}", &[]),
            ("services: {a: {instances: [{address: 'x:1', weight: 0}, 'x:2']}}", &[]),
        ] {
            assert_eq!(told(text), keys, "{text}");
        }
    }
}
