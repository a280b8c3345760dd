use super::*;
use crate::faults::FaultScript;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

fn clients(messages: usize, bytes: usize) -> Clients {
    let products = BTreeSet::from(["BTC-USD", "ETH-USD"].map(str::to_owned));
    Clients::new(Offer { channels: vec!["ticker", "heartbeat"], products }, messages, bytes)
}

fn subscribe(clients: &Clients, client: &Client, products: &[&str], channels: &[&str]) {
    clients.request(client, Request::parse(&Request::subscribe_text(products, channels)), &no_faults());
}

fn no_faults() -> Faults {
    Faults::new(&FaultScript::default())
}

fn recipients(clients: &Clients, channel: Option<&str>, product: Option<&str>) -> usize {
    let mut found = Vec::new();
    clients.recipients(channel, product, &mut found);
    found.len()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_answer_comes_before_what_was_asked_for() {
    let clients = clients(10, 10_000);
    let (client, mut queued) = clients.join();
    assert_eq!(recipients(&clients, None, None), 0);
    subscribe(&clients, &client, &["BTC-USD"], &["ticker"]);
    assert_eq!(recipients(&clients, Some("ticker"), Some("BTC-USD")), 0, "nobody took notice yet");
    let fresh = clients.take_fresh();
    assert_eq!((fresh[0].1.as_str(), fresh[0].2.as_str(), fresh.len()), ("ticker", "BTC-USD", 1));
    assert_eq!(recipients(&clients, Some("ticker"), Some("BTC-USD")), 1);
    assert_eq!(recipients(&clients, Some("heartbeat"), Some("BTC-USD")), 0);
    assert_eq!(recipients(&clients, None, Some("ETH-USD")), 0);
    assert_eq!(recipients(&clients, None, None), 1);
    let (answer, _room) = queued.recv().await.unwrap();
    assert!(answer.to_text().unwrap().contains("subscriptions"));
}

#[tokio::test]
async fn the_audience_is_who_subscribed() {
    let clients = clients(10, 10_000);
    let audience = clients.audience();
    let (client, _queued) = clients.join();
    assert_eq!(audience.borrow().subscribed, 0);
    clients.request(&client, Request::parse("nonsense"), &no_faults());
    assert!(!clients.is_subscribed(&client));
    subscribe(&clients, &client, &["BTC-USD"], &["ticker"]);
    assert!(clients.is_subscribed(&client));
    assert_eq!(audience.borrow().subscribed, 1);
    clients.leave(&client);
    assert_eq!(audience.borrow().subscribed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_waits_for_its_reader_or_ends_the_client() {
    let clients = clients(2, 1_000);
    let (client, mut queued) = clients.join();
    assert!(client.offer(Message::text("1")) && client.offer(Message::text("2")));
    let (delivered, _) = tokio::join!(client.deliver(Message::text("3"), SECOND), queued.recv());
    assert!(delivered);
    assert!(!client.deliver(Message::text("4"), SECOND).await);
    assert!(client.ended.is_cancelled());
    let (other, _other_queued) = clients.join();
    assert!(
        other.offer(Message::text("1"))
            && other.offer(Message::text("2"))
            && !other.offer(Message::text("3"))
    );
    assert!(other.ended.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_and_a_message_beyond_the_bound_waits_alone() {
    let clients = clients(100, 10);
    let (client, mut queued) = clients.join();
    assert!(client.offer(Message::text("12345678")));
    assert!(!client.offer(Message::text("123")));
    let (client, mut others) = clients.join();
    assert!(client.offer(Message::text("x".repeat(50))), "the queue was empty");
    let ((), delivered) = tokio::join!(
        async {
            drop(others.recv().await);
        },
        client.deliver(Message::text("y"), SECOND)
    );
    assert!(delivered);
    assert_eq!(queued.recv().await.unwrap().0, Message::text("12345678"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_left_is_not_waited_for() {
    let clients = clients(1, 1_000);
    let (client, queued) = clients.join();
    assert!(client.offer(Message::text("1")));
    drop(queued);
    let started = tokio::time::Instant::now();
    assert!(!client.deliver(Message::text("2"), Duration::from_secs(3_600)).await);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(!client.ended.is_cancelled());
}
