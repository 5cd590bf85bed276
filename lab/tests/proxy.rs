//! Each fault does what it says, at once, and nothing is lost that was only held back.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use alacena_lab::proxy::{Direction, Fault, Proxy, Traffic};
use alacena_lab::servers::{Redis, ServerError};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Longer than anything here takes, unless it hangs.
const LONG: Duration = Duration::from_secs(20);

/// How long one waits for what must not come.
const SHORT: Duration = Duration::from_millis(60);

/// A proxy, and the two ends of connections through it.
struct Line {
    listener: TcpListener,
    proxy: Proxy,
}

impl Line {
    async fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Proxy::start(listener.local_addr()?).await?;
        Ok(Self { listener, proxy })
    }

    /// A client's end and the server's end of a new connection.
    async fn connect(&self) -> io::Result<(TcpStream, TcpStream)> {
        let client = TcpStream::connect(self.proxy.address()).await?;
        let (server, _) = within(self.listener.accept()).await?;
        Ok((client, server))
    }
}

async fn within<T>(outcome: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LONG, outcome).await?
}

async fn read(from: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    within(from.read_exact(&mut bytes)).await?;
    Ok(bytes)
}

/// All there is until the connection ends.
async fn read_to_end(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    within(from.read_to_end(&mut bytes)).await?;
    Ok(bytes)
}

/// Neither bytes nor an end arrive.
async fn is_silent(from: &mut TcpStream) -> bool {
    timeout(SHORT, from.read(&mut [0])).await.is_err()
}

fn delay(by: u64, jitter: u64) -> Fault {
    Fault::Delay {
        by: Duration::from_millis(by),
        jitter: Duration::from_millis(jitter),
    }
}

fn throttle(bytes_per_second: u32) -> Fault {
    Fault::Throttle { bytes_per_second }
}

/// Bytes that show it if any are swapped, lost or repeated.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_and_ends_pass_each_way_and_are_counted() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    client.write_all(b"question").await?;
    assert_eq!(read(&mut server, 8).await?, b"question");
    client.shutdown().await?;
    assert_eq!(read_to_end(&mut server).await?, b"");
    // The other half is still open.
    server.write_all(b"answer").await?;
    drop(server);
    assert_eq!(read_to_end(&mut client).await?, b"answer");
    let expected = Traffic {
        connections: 1,
        to_server: 8,
        to_client: 6,
    };
    assert_eq!(line.proxy.traffic(), expected);
    Ok(())
}

#[tokio::test]
async fn without_a_server_a_connection_ends_at_once() -> Outcome {
    let Line { listener, proxy } = Line::new().await?;
    drop(listener);
    let mut client = TcpStream::connect(proxy.address()).await?;
    assert_eq!(read_to_end(&mut client).await?, b"");
    Ok(())
}

#[tokio::test]
async fn a_cut_closes_the_connections_there_are_and_new_ones_until_healed() -> Outcome {
    for direction in [Direction::ToServer, Direction::ToClient, Direction::Both] {
        let line = Line::new().await?;
        let (mut client, mut server) = line.connect().await?;
        line.proxy.set(direction, Fault::Cut);
        assert_eq!(read_to_end(&mut client).await?, b"");
        assert_eq!(read_to_end(&mut server).await?, b"");
        let mut refused = TcpStream::connect(line.proxy.address()).await?;
        assert_eq!(read_to_end(&mut refused).await?, b"");
        line.proxy.heal();
        let (mut client, mut server) = line.connect().await?;
        client.write_all(b"again").await?;
        assert_eq!(read(&mut server, 5).await?, b"again");
        assert_eq!(line.proxy.traffic().connections, 3);
    }
    Ok(())
}

#[tokio::test]
async fn what_hangs_is_delivered_in_order_when_healed() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    line.proxy.set(Direction::ToServer, Fault::Hang);
    client.write_all(b"one ").await?;
    assert!(is_silent(&mut server).await);
    // The other direction is well.
    server.write_all(b"hello").await?;
    assert_eq!(read(&mut client, 5).await?, b"hello");
    // New connections are made, and hang too.
    let (mut second, mut second_server) = line.connect().await?;
    second.write_all(b"second").await?;
    // Not even an end goes through.
    client.write_all(b"two").await?;
    client.shutdown().await?;
    let (third, mut third_server) = line.connect().await?;
    drop(third);
    for silent in [&mut server, &mut second_server, &mut third_server] {
        assert!(is_silent(silent).await);
    }
    assert_eq!(line.proxy.traffic().to_server, 0);

    line.proxy.heal();
    assert_eq!(read_to_end(&mut server).await?, b"one two");
    assert_eq!(read(&mut second_server, 6).await?, b"second");
    assert_eq!(read_to_end(&mut third_server).await?, b"");
    Ok(())
}

#[tokio::test]
async fn what_a_client_sent_before_it_gave_up_still_arrives() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    line.proxy.set(Direction::ToServer, Fault::Hang);
    client.write_all(b"late").await?;
    drop(client);
    // Answers that nobody takes end their own direction only.
    for _ in 0..2 {
        server.write_all(b"for nobody").await?;
        assert!(is_silent(&mut server).await);
    }
    line.proxy.heal();
    assert_eq!(read_to_end(&mut server).await?, b"late");
    Ok(())
}

#[tokio::test]
async fn more_than_the_proxy_holds_survives_a_hang() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    line.proxy.set(Direction::Both, Fault::Hang);
    let sent = pattern(24 << 20);
    let sending = tokio::spawn({
        let sent = sent.clone();
        async move {
            client.write_all(&sent).await?;
            client.shutdown().await?;
            io::Result::Ok(client)
        }
    });
    assert!(is_silent(&mut server).await);
    assert!(!sending.is_finished());
    line.proxy.heal();
    assert!(read_to_end(&mut server).await? == sent);
    sending.await??;
    Ok(())
}

#[tokio::test]
async fn a_delay_is_a_latency_and_not_a_rate() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    line.proxy.set(Direction::ToServer, delay(100, 50));
    let start = Instant::now();
    let mut arrivals = Vec::new();
    for _ in 0..30 {
        client.write_all(b"x").await?;
        sleep(Duration::from_millis(5)).await;
    }
    let sending = start.elapsed();
    while arrivals.len() < 30 {
        let bytes = within(server.read(&mut [0; 30])).await?;
        arrivals.extend(std::iter::repeat_n(start.elapsed(), bytes));
    }
    assert!(arrivals[0] >= Duration::from_millis(100), "{arrivals:?}");
    // One after the other they would take 30 delays.
    assert!(
        arrivals[29] < sending + Duration::from_millis(2500),
        "{arrivals:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_throttle_carries_so_many_bytes_per_second() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    line.proxy.set(Direction::ToServer, throttle(50_000));
    let start = Instant::now();
    client.write_all(&pattern(20_000)).await?;
    assert_eq!(read(&mut server, 20_000).await?, pattern(20_000));
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(350) && took < Duration::from_secs(4),
        "{took:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_reset_reaches_whoever_would_have_received() -> Outcome {
    for (direction, server_too, client_too) in [
        (Direction::ToServer, true, false),
        (Direction::ToClient, false, true),
        (Direction::Both, true, true),
    ] {
        let line = Line::new().await?;
        let (mut client, mut server) = line.connect().await?;
        // Accepted by the server is not yet connected in the proxy's eyes.
        client.write_all(b"x").await?;
        read(&mut server, 1).await?;
        line.proxy.set(direction, Fault::Reset);
        let is_reset = |read: io::Result<Vec<u8>>| match read {
            Ok(bytes) => Ok(!bytes.is_empty()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        };
        assert_eq!(is_reset(read_to_end(&mut server).await)?, server_too);
        assert_eq!(is_reset(read_to_end(&mut client).await)?, client_too);
        let mut new = TcpStream::connect(line.proxy.address()).await?;
        assert_eq!(is_reset(read_to_end(&mut new).await)?, client_too);
    }
    Ok(())
}

#[tokio::test]
async fn nobody_listens_while_connections_are_refused() -> Outcome {
    for direction in [Direction::ToServer, Direction::ToClient, Direction::Both] {
        let line = Line::new().await?;
        let (mut client, mut server) = line.connect().await?;
        line.proxy.set(direction, Fault::Refuse);
        assert_eq!(read_to_end(&mut client).await?, b"");
        assert_eq!(read_to_end(&mut server).await?, b"");
        let refused = async {
            while TcpStream::connect(line.proxy.address()).await.is_ok() {}
            Ok(())
        };
        within(refused).await?;
        let error = TcpStream::connect(line.proxy.address()).await;
        assert_eq!(
            error.map_err(|error| error.kind()).err(),
            Some(ErrorKind::ConnectionRefused)
        );
        line.proxy.heal();
        let listens_again = async {
            while TcpStream::connect(line.proxy.address()).await.is_err() {
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        within(listens_again).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_that_may_live_for_so_long_is_reset_before() -> Outcome {
    let line = Line::new().await?;
    let (mut old, _server) = line.connect().await?;
    let life = Duration::from_millis(100);
    line.proxy.set(Direction::Both, Fault::ResetWithin(life));
    let (mut young, mut server) = line.connect().await?;
    for client in [&mut old, &mut young] {
        let ended = read(client, 1).await.expect_err("it is reset");
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(
        read(&mut server, 1)
            .await
            .map_err(|error| error.kind())
            .err(),
        Some(ErrorKind::ConnectionReset)
    );
    line.proxy.heal();
    let (mut client, mut server) = line.connect().await?;
    assert!(
        timeout(2 * life, server.read(&mut [0])).await.is_err(),
        "it lives on"
    );
    server.write_all(b"on").await?;
    assert_eq!(read(&mut client, 2).await?, b"on");
    Ok(())
}

#[tokio::test]
async fn what_is_healed_at_once_has_still_ended_connections() -> Outcome {
    let line = Line::new().await?;
    for (fault, is_reset) in [(Fault::Cut, false), (Fault::Reset, true)] {
        let (mut client, mut server) = line.connect().await?;
        client.write_all(b"x").await?;
        read(&mut server, 1).await?;
        line.proxy.set(Direction::Both, fault);
        line.proxy.heal();
        assert_eq!(read_to_end(&mut client).await.is_err(), is_reset);
        assert_eq!(read_to_end(&mut server).await.is_err(), is_reset);
    }
    let (mut client, mut server) = line.connect().await?;
    client.write_all(b"well").await?;
    assert_eq!(read(&mut server, 4).await?, b"well");
    Ok(())
}

#[tokio::test]
async fn garbage_has_the_length_of_what_it_replaces() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    line.proxy.set(Direction::ToClient, Fault::Garbage);
    server.write_all(&pattern(1000)).await?;
    client.write_all(&pattern(1000)).await?;
    assert_eq!(read(&mut server, 1000).await?, pattern(1000));
    assert_ne!(read(&mut client, 1000).await?, pattern(1000));
    assert!(is_silent(&mut client).await);
    line.proxy.heal();
    server.write_all(b"sense").await?;
    drop(server);
    assert_eq!(read_to_end(&mut client).await?, b"sense");
    Ok(())
}

#[tokio::test]
async fn a_switch_frees_what_another_fault_holds_back() -> Outcome {
    let line = Line::new().await?;
    for (fault, through) in [(Fault::Hang, 0), (delay(3_600_000, 0), 0), (throttle(1), 1)] {
        let (mut client, mut server) = line.connect().await?;
        line.proxy.set(Direction::Both, fault);
        client.write_all(b"first, ").await?;
        read(&mut server, through).await?;
        assert!(is_silent(&mut server).await, "{fault:?}");
        line.proxy.set(Direction::ToServer, delay(1, 1));
        client.write_all(b"last").await?;
        drop(client);
        assert_eq!(read_to_end(&mut server).await?, b"first, last"[through..]);
        line.proxy.heal();
    }

    // A cut discards what is held back.
    let (mut client, mut server) = line.connect().await?;
    line.proxy.set(Direction::ToServer, Fault::Hang);
    client.write_all(b"lost").await?;
    assert!(is_silent(&mut server).await);
    line.proxy.set(Direction::ToClient, Fault::Cut);
    assert_eq!(read_to_end(&mut server).await?, b"");
    Ok(())
}

#[tokio::test]
async fn a_dropped_proxy_ends_everything() -> Outcome {
    let line = Line::new().await?;
    let (mut client, mut server) = line.connect().await?;
    let address = line.proxy.address();
    drop(line);
    assert_eq!(read_to_end(&mut client).await?, b"");
    assert_eq!(read_to_end(&mut server).await?, b"");
    let refused = TcpStream::connect(address).await;
    assert_eq!(
        refused.map_err(|error| error.kind()).err(),
        Some(ErrorKind::ConnectionRefused)
    );
    Ok(())
}

/// What is sent each way under a fault, and how long the fault then lasts at least.
#[derive(Clone, Debug)]
struct Step {
    there: Vec<u8>,
    back: Vec<u8>,
    fault: Fault,
    lasts: Duration,
}

/// Sends both ways at once, switching faults, and gives what arrived. The last fault stays until
/// the end.
async fn exchange(steps: &[Step], last: Fault) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let line = Line::new().await?;
    let (client, server) = line.connect().await?;
    let (mut client, mut to_server) = client.into_split();
    let (mut server, mut to_client) = server.into_split();
    let send = async {
        for step in steps {
            line.proxy.set(Direction::Both, step.fault);
            to_server.write_all(&step.there).await?;
            to_client.write_all(&step.back).await?;
            sleep(step.lasts).await;
        }
        line.proxy.set(Direction::Both, last);
        to_server.shutdown().await?;
        to_client.shutdown().await
    };
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let exchange = async {
        tokio::try_join!(
            send,
            server.read_to_end(&mut there),
            client.read_to_end(&mut back)
        )
    };
    within(exchange).await?;
    Ok((there, back))
}

fn slow() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..5_u64, 0..5_u64).prop_map(|(by, jitter)| delay(by, jitter)),
        (300_000..3_000_000_u32).prop_map(throttle),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || vec(any::<u8>(), 0..3000);
    let fault = prop_oneof![Just(Fault::Pass), Just(Fault::Hang), slow(), slow()];
    (bytes(), bytes(), fault, 0..5_u64).prop_map(|(there, back, fault, lasts)| Step {
        there,
        back,
        fault,
        lasts: Duration::from_millis(lasts),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nothing_is_changed_lost_repeated_or_swapped(steps in vec(step(), 0..12), last in slow()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (there, back) = runtime.block_on(exchange(&steps, last))?;
        let sent_there: Vec<u8> = steps.iter().flat_map(|step| step.there.clone()).collect();
        let sent_back: Vec<u8> = steps.iter().flat_map(|step| step.back.clone()).collect();
        prop_assert!(there == sent_there, "to the server");
        prop_assert!(back == sent_back, "to the client");
    }
}

/// The answer to an inline command, sent over a connection of its own.
async fn ask(address: SocketAddr, command: &str, length: usize) -> io::Result<String> {
    let mut client = TcpStream::connect(address).await?;
    client
        .write_all(format!("{command}\r\n").as_bytes())
        .await?;
    let answer = read(&mut client, length).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_real_server_behind_it_feels_each_fault() -> Outcome {
    let mut redis = Redis::start()?;
    let proxy = Proxy::start(redis.address()).await?;
    let address = proxy.address();
    assert_eq!(ask(address, "SET word one", 5).await?, "+OK\r\n");

    // The command arrives, its answer does not.
    proxy.set(Direction::ToClient, Fault::Hang);
    let lost = timeout(SHORT, ask(address, "SET word two", 5)).await;
    assert!(lost.is_err());
    let arrival = async {
        while redis.command(&["GET", "word"])? != "two" {
            sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, ServerError>(())
    };
    timeout(LONG, arrival).await??;

    // The command does not arrive, or late.
    proxy.set(Direction::ToServer, Fault::Hang);
    let mut client = TcpStream::connect(address).await?;
    client.write_all(b"SET word three\r\n").await?;
    assert!(is_silent(&mut client).await);
    assert_eq!(redis.command(&["GET", "word"])?, "two");
    proxy.heal();
    assert_eq!(read(&mut client, 5).await?, b"+OK\r\n");
    assert_eq!(redis.command(&["GET", "word"])?, "three");

    proxy.set(Direction::ToClient, Fault::Garbage);
    assert_ne!(
        ask(address, "ECHO 0123456789", 17).await?,
        "$10\r\n0123456789\r\n"
    );
    proxy.set(Direction::Both, Fault::Reset);
    let reset = ask(address, "PING", 7).await.map_err(|error| error.kind());
    assert!(
        matches!(
            reset,
            Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        ),
        "{reset:?}"
    );

    // The proxy stays when the server goes and comes back.
    proxy.heal();
    redis.kill()?;
    assert!(ask(address, "PING", 7).await.is_err());
    redis.start_again()?;
    assert_eq!(ask(address, "PING", 7).await?, "+PONG\r\n");
    Ok(())
}
