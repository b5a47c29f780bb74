//! The endpoints with files that a test changes; nothing listens at their addresses.

use std::rc::Rc;
use std::time::SystemTime;

use super::*;
use crate::adapters::etcd::call_error::tests::from_etcd;
use crate::model::secret::{Credentials, Secret};

/// What the files hold, or why they cannot be read.
type Disk = Rc<RefCell<Result<EtcdAccess, String>>>;

fn with_password(password: &str) -> EtcdAccess {
    let endpoints = vec!["http://a:1".to_owned(), "http://b:1".to_owned()];
    let credentials = Some(Credentials {
        user: "flannel".to_owned(),
        password: Secret(password.to_owned()),
    });
    EtcdAccess {
        endpoints,
        credentials,
        ..EtcdAccess::default()
    }
}

fn disk() -> Disk {
    Rc::new(RefCell::new(Ok(with_password("old"))))
}

fn endpoints(disk: &Disk) -> Endpoints {
    let disk = disk.clone();
    let source = AccessSource {
        read: Box::new(move || disk.borrow().clone()),
        now: || SystemTime::UNIX_EPOCH,
        random: || 0.0,
    };
    let (_, path) = tokio::sync::watch::channel(0);
    Endpoints::new(
        with_password("old"),
        source,
        "/net/",
        NetworkPath::new(path),
        watch::Sender::default(),
    )
}

fn access(endpoints: &Endpoints) -> EtcdAccess {
    (*endpoints.state.borrow().connection.access()).clone()
}

#[test]
fn names_the_endpoint_that_failed_and_goes_on_to_the_next() {
    let endpoints = endpoints(&disk());
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(endpoints.failed(CallCause::TimedOut).to_string());
        endpoints.rotate();
    }
    assert!(errors[0].starts_with("http://a:1: no answer within 5 s (the look-up of the name"));
    assert!(errors[1].starts_with("http://b:1: no answer within 5 s (the look-up of the name"));
    assert_eq!(errors[2], errors[0]);
}

#[test]
fn takes_up_renewed_files_once_and_keeps_the_old_ones_while_files_are_broken() {
    let disk = disk();
    let endpoints = endpoints(&disk);
    assert!(!endpoints.reload_files());
    *disk.borrow_mut() = Err("half written".to_owned());
    assert!(!endpoints.reload_files());
    assert_eq!(access(&endpoints), with_password("old"));
    *disk.borrow_mut() = Ok(with_password("new"));
    assert!(endpoints.reload_files());
    assert!(!endpoints.reload_files());
    assert_eq!(access(&endpoints), with_password("new"));
}

#[tokio::test]
async fn refused_credentials_are_sent_again_when_the_files_hold_others() {
    let disk = disk();
    let endpoints = endpoints(&disk);
    endpoints.failed(from_etcd(
        tonic::Code::InvalidArgument,
        "authentication failed, invalid user ID or password",
    ));
    let on_hold = endpoints
        .client()
        .await
        .map(drop)
        .expect_err("etcd is not asked again");
    assert!(
        matches!(&on_hold, CallCause::LoginOnHold(words) if words.contains("invalid user ID")),
        "{on_hold:?}"
    );
    endpoints.failed(on_hold);
    *disk.borrow_mut() = Ok(with_password("new"));
    let asked = endpoints
        .client()
        .await
        .map(drop)
        .expect_err("nothing listens there");
    assert!(matches!(asked, CallCause::Etcd(_)), "{asked:?}");
}

/// Endpoints without a login, so that nothing is sent before the request, and the sender of their path.
fn endpoints_on_a_path() -> (Endpoints, tokio::sync::watch::Sender<u64>) {
    let access = || EtcdAccess {
        endpoints: vec!["http://a:1".to_owned()],
        ..EtcdAccess::default()
    };
    let source = AccessSource {
        read: Box::new(move || Ok(access())),
        now: || SystemTime::UNIX_EPOCH,
        random: || 0.0,
    };
    let (sender, path) = tokio::sync::watch::channel(0);
    let endpoints = Endpoints::new(
        access(),
        source,
        "/net/",
        NetworkPath::new(path),
        watch::Sender::default(),
    );
    (endpoints, sender)
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_is_sent_again_at_once_when_the_way_to_etcd_changes() {
    let (endpoints, sender) = endpoints_on_a_path();
    let sent = RefCell::new(0);
    let request = async |_client: Client| {
        let number = sent.replace_with(|sent| *sent + 1);
        if number == 0 {
            // No answer comes over the old way.
            std::future::pending::<()>().await;
        }
        Ok(number)
    };
    let change = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        sender.send_modify(|path| *path += 1);
    };
    let started = Instant::now();
    let (answer, ()) = tokio::join!(endpoints.try_call(request), change);
    assert_eq!(answer.ok(), Some(1));
    assert_eq!(started.elapsed(), std::time::Duration::from_millis(100));
}

#[tokio::test]
async fn a_client_of_the_old_way_is_not_used_again() {
    let (endpoints, sender) = endpoints_on_a_path();
    let has_client = || endpoints.state.borrow().connection.client().is_some();
    assert!(endpoints.client().await.is_ok() && has_client());
    endpoints.drop_client_of_old_path();
    assert!(has_client(), "nothing has changed");
    sender.send_modify(|path| *path += 1);
    endpoints.drop_client_of_old_path();
    assert!(!has_client());
    assert!(endpoints.client().await.is_ok() && has_client());
}

#[tokio::test]
async fn the_status_shows_which_endpoint_fails_and_which_answers() {
    let disk = Rc::new(RefCell::new(Ok(EtcdAccess {
        credentials: None,
        ..with_password("")
    })));
    let endpoints = endpoints(&disk);
    endpoints.reload_files();
    let asked = RefCell::new(0);
    // The first one fails, as a client of a host that is down.
    let request = async |_client: Client| {
        if asked.replace_with(|asked| *asked + 1) == 0 {
            return Err(EtcdError::IoError(
                std::io::ErrorKind::ConnectionRefused.into(),
            ));
        }
        Ok(())
    };
    assert!(endpoints.try_call(request).await.is_ok());
    let states = endpoints.states.borrow().clone();
    assert_eq!(states.answering.as_deref(), Some("http://b:1"));
    let failing: Vec<(&str, bool)> = states
        .failing
        .iter()
        .map(|(endpoint, what)| (endpoint.as_str(), what.starts_with("connection refused (")))
        .collect();
    assert_eq!(failing, [("http://a:1", true)]);
    assert!(endpoints.try_call(async |_| Ok(())).await.is_ok());
    assert_eq!(
        *endpoints.states.borrow(),
        states,
        "it stays with the one that answers"
    );
}
