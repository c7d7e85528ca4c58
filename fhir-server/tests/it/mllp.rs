//! A small MLLP client and synthetic messages. Written apart from the listener's own code, so that both can be wrong only separately.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Sender {
    stream: TcpStream,
    /// What came and was not looked at.
    read: Vec<u8>,
}

impl Sender {
    pub async fn connect(address: &str) -> std::io::Result<Sender> {
        Ok(Sender {
            stream: TcpStream::connect(address).await?,
            read: Vec::new(),
        })
    }

    /// Sends one message and waits for its acknowledgement.
    pub async fn send(&mut self, message: impl AsRef<[u8]>) -> std::io::Result<String> {
        self.write(message).await?;
        self.answer().await
    }

    /// Sends one frame and waits for nothing.
    pub async fn write(&mut self, message: impl AsRef<[u8]>) -> std::io::Result<()> {
        let frame = [b"\x0b", message.as_ref(), b"\x1c\r"].concat();
        self.stream.write_all(&frame).await
    }

    /// The next frame that comes.
    pub async fn answer(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\x1c\r") {
                let frame: Vec<u8> = self.read.drain(..end + 2).collect();
                return Ok(String::from_utf8(frame[1..end].to_vec()).unwrap());
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends no more, and gives what still comes until the other side ends, too.
    pub async fn end(mut self) -> std::io::Result<Vec<u8>> {
        self.stream.shutdown().await?;
        while self.stream.read_buf(&mut self.read).await? > 0 {}
        Ok(self.read)
    }
}

/// MSA-1 and MSA-2 of an acknowledgement.
pub fn msa(acknowledgement: &str) -> (&str, &str) {
    let line = acknowledgement
        .split('\r')
        .find(|line| line.starts_with("MSA|"))
        .unwrap_or_default();
    let mut fields = line.split('|').skip(1);
    (
        fields.next().unwrap_or_default(),
        fields.next().unwrap_or_default(),
    )
}

/// What a frame of answers says of one message.
#[derive(Debug, PartialEq)]
pub struct Acknowledgment {
    /// MSA-1, then ERR-4 and ERR-3 of its errors, each pair once: `AE E101 W102`.
    pub said: String,
    /// MSA-2.
    pub control_id: String,
    /// MSH-18.
    pub charset: String,
}

/// The acknowledgements in a frame: one, or those of a batch.
pub fn acknowledgments(frame: &str) -> Vec<Acknowledgment> {
    let mut found: Vec<Acknowledgment> = Vec::new();
    let mut charset = String::new();
    let (mut field, mut component) = ('|', '^');
    for line in frame.split('\r') {
        if line.starts_with("MSH") {
            let mut separators = line.chars().skip(3);
            (field, component) = (separators.next().unwrap(), separators.next().unwrap());
        }
        let fields: Vec<&str> = line.split(field).collect();
        let text = |n: usize| fields.get(n).copied().unwrap_or_default().to_owned();
        match fields[0] {
            "MSH" => charset = text(17),
            "MSA" => found.push(Acknowledgment {
                said: text(1),
                control_id: text(2),
                charset: charset.clone(),
            }),
            "ERR" => {
                let code = text(3);
                let error = format!(" {}{}", text(4), code.split(component).next().unwrap());
                let said = &mut found.last_mut().unwrap().said;
                if !said.contains(&error) {
                    said.push_str(&error);
                }
            }
            _ => {}
        }
    }
    found
}

/// A message from its lines; `kind` is MSH-9.
pub fn message(kind: &str, control_id: &str, lines: &str) -> String {
    let lines = lines.trim().lines().map(|line| line.trim_start());
    let header =
        format!("MSH|^~\\&|DESK|CAMP4|FHIR|CAMP4|20261020080000||{kind}|{control_id}|P|2.5.1");
    let lines = std::iter::once(header.as_str()).chain(lines);
    lines.map(|line| format!("{line}\r")).collect()
}

/// An ADT message about the n-th patient and its visit.
pub fn adt(event: &str, control_id: &str, n: u32) -> String {
    let structure = if matches!(event, "A04" | "A08") {
        "A01"
    } else {
        event
    };
    let discharge = if event == "A03" {
        "20261020110000+0000"
    } else {
        ""
    };
    format!(
        "MSH|^~\\&|REG|CAMP4|FHIR|CAMP4|20261020080000+0000||ADT^{event}^ADT_{structure}|{control_id}|P|2.5.1|||||||UNICODE UTF-8\r\
         EVN|{event}|20261020080000+0000\r\
         PID|1||M{n:05}^^^CAMP4^MR||Test{n}^Given{n}^^^^^L||198{}0615|{}|||Block {n}^^Camp 4^^^ET||+2519000{n:05}\r\
         PV1|1|I|WARD^1^{n}^CAMP4||||||||||||||||V{n:05}^^^CAMP4^VN|||||||||||||||||||||||||20261020080000+0000|{discharge}\r",
        n % 10,
        if n.is_multiple_of(2) { "F" } else { "M" },
    )
}

/// Results of one order of the n-th patient: `results` numbers.
pub fn oru(control_id: &str, n: u32, order: &str, results: u32) -> String {
    let mut message = format!(
        "MSH|^~\\&|LAB|CAMP4|FHIR|CAMP4|20261020100000+0000||ORU^R01^ORU_R01|{control_id}|P|2.5.1|||||||UNICODE UTF-8\r\
         PID|1||M{n:05}^^^CAMP4^MR||Test{n}^Given{n}^^^^^L||198{}0615|{}\r\
         ORC|RE|P{order}^REG|F{order}^LAB||CM\r\
         OBR|1|P{order}^REG|F{order}^LAB|58410-2^CBC panel^LN|||20261020093000+0000|||||||||||||||20261020100000+0000||LAB|F\r",
        n % 10,
        if n.is_multiple_of(2) { "F" } else { "M" },
    );
    for (i, code) in [
        "718-7", "4544-3", "6690-2", "777-3", "789-8", "786-4", "785-6", "787-2", "788-0", "770-8",
    ]
    .iter()
    .enumerate()
    .take(results as usize)
    {
        message.push_str(&format!(
            "OBX|{}|NM|{code}^Test {code}^LN||{}.5|g/L^g/L^UCUM|1-99|N|||F|||20261020093000+0000\r",
            i + 1,
            10 + i
        ));
    }
    message
}

/// An order for the n-th patient.
pub fn orm(control_id: &str, n: u32, order: &str) -> String {
    format!(
        "MSH|^~\\&|REG|CAMP4|LAB|CAMP4|20261020090000+0000||ORM^O01^ORM_O01|{control_id}|P|2.5.1|||||||UNICODE UTF-8\r\
         PID|1||M{n:05}^^^CAMP4^MR||Test{n}^Given{n}^^^^^L||198{}0615|{}\r\
         ORC|NW|P{order}^REG|||SC||||20261020090000+0000\r\
         OBR|1|P{order}^REG||58410-2^CBC panel^LN|||20261020090000+0000\r",
        n % 10,
        if n.is_multiple_of(2) { "F" } else { "M" },
    )
}
