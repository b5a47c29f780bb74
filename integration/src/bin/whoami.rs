//! Tells a client under which address and port it is seen: the server and the client of tests about masquerading.
//!
//! `whoami serve PORT`, or `serve ADDRESS:PORT`, answers over TCP and UDP, `whoami ask tcp|udp ADDRESS:PORT [SOURCE:PORT]` asks.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// A server on the same machine answers in less than a millisecond; half of this would be a packet that was sent again.
const DEADLINE: Duration = Duration::from_secs(2);
const ANYWHERE: &str = "0.0.0.0:0";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", place] => serve(
            place
                .parse()
                .or_else(|_| Ok::<_, anyhow::Error>(everywhere(place.parse()?)))?,
        ),
        ["ask", "tcp", server] => ask_tcp(server),
        ["ask", "udp", server] => ask_udp(server, ANYWHERE),
        ["ask", "udp", server, source] => ask_udp(server, source),
        _ => bail!("expected serve [ADDRESS:]PORT, or ask tcp|udp ADDRESS:PORT"),
    }
}

fn everywhere(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

fn serve(place: SocketAddr) -> Result<()> {
    let tcp = TcpListener::bind(place)?;
    let udp = UdpSocket::bind(place)?;
    thread::spawn(move || -> Result<()> {
        loop {
            let (_, client) = udp.recv_from(&mut [0; 64])?;
            udp.send_to(client.to_string().as_bytes(), client)?;
        }
    });
    loop {
        let (mut stream, client) = tcp.accept()?;
        // A client that is gone already does not want to know.
        let _ = stream.write_all(client.to_string().as_bytes());
    }
}

fn ask_tcp(server: &str) -> Result<()> {
    let server = server
        .parse()
        .with_context(|| format!("not an address with a port: {server}"))?;
    let mut stream = TcpStream::connect_timeout(&server, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("{answer}");
    Ok(())
}

fn ask_udp(server: &str, source: &str) -> Result<()> {
    let socket = UdpSocket::bind(source)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.send(b"who am I?")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    println!("{}", String::from_utf8_lossy(&answer[..length]));
    Ok(())
}
