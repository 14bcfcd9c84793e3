//! What Modbus over TCP and over a serial line have in common: the request to read registers, and what may come back
//! (Modbus Application Protocol V1.1b3, 6.3, 6.4 and 7). It knows no transport.

use std::fmt;

/// Registers that one request may ask for (6.3).
pub const MAX_REGISTERS: u16 = 125;
/// Marks the function of an answer as refused (7).
const REFUSED: u8 = 0x80;

/// Which of a device's two tables of registers is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Function 3.
    Holding,
    /// Function 4.
    Input,
}

/// A request to read registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The device on its line, or behind its gateway.
    pub unit: u8,
    /// Where the registers are.
    pub table: Table,
    /// The first register, counted from 0 as on the wire.
    pub address: u16,
    /// How many registers, 1 to [`MAX_REGISTERS`].
    pub count: u16,
}

/// A proper answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// As many registers as were asked for.
    Registers(Vec<u16>),
    /// The device refuses, with this exception code.
    Exception(u8),
}

/// An answer that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// The bytes do not begin like Modbus over TCP.
    NotModbus,
    /// The answer to another request.
    Transaction {
        /// Number of the request.
        asked: u16,
        /// Number in the answer.
        got: u16,
    },
    /// The answer of another device.
    Unit {
        /// Unit of the request.
        asked: u8,
        /// Unit in the answer.
        got: u8,
    },
    /// The answer to another function.
    Function {
        /// Function of the request.
        asked: u8,
        /// Function in the answer.
        got: u8,
    },
    /// The answer's lengths contradict each other or the request.
    Length {
        /// Bytes of registers that were asked for.
        asked: usize,
        /// Bytes that the answer says or has.
        got: usize,
    },
    /// The checksum of a serial frame is wrong.
    Crc,
    /// The frame stops in the middle.
    Short {
        /// Bytes that came.
        got: usize,
        /// Bytes that the whole frame has, as far as that is known.
        of: usize,
    },
    /// Bytes come and come, and no frame begins or ends among them.
    Endless,
}

impl Ask {
    /// The function code.
    pub fn function(&self) -> u8 {
        match self.table {
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// The request without what its transport puts around it.
    pub(super) fn pdu(&self) -> [u8; 5] {
        let ([a, b], [c, d]) = (self.address.to_be_bytes(), self.count.to_be_bytes());
        [self.function(), a, b, c, d]
    }

    /// Bytes of registers in a good answer.
    pub(super) fn bytes(&self) -> usize {
        2 * usize::from(self.count)
    }

    /// Reads an answer without what its transport puts around it; it must be whole.
    pub(super) fn answer(&self, pdu: &[u8]) -> Result<Reply, FrameFault> {
        let length = |got| FrameFault::Length { asked: self.bytes(), got };
        match *pdu {
            [function, code] if function == self.function() | REFUSED => Ok(Reply::Exception(code)),
            [function, n, ref data @ ..] if function == self.function() => {
                let n = usize::from(n);
                if n != self.bytes() {
                    return Err(length(n));
                }
                if n != data.len() {
                    return Err(length(data.len()));
                }
                let words = data.chunks_exact(2).map(|it| u16::from_be_bytes([it[0], it[1]]));
                Ok(Reply::Registers(words.collect()))
            }
            [function, ..] if function | REFUSED == self.function() | REFUSED => Err(length(pdu.len())),
            [got, ..] => Err(FrameFault::Function { asked: self.function(), got }),
            [] => Err(length(0)),
        }
    }

    /// Whether `function` can begin an answer.
    pub(super) fn expects(&self, function: u8) -> bool {
        function & !REFUSED == self.function()
    }
}

/// Whether an answer's function says that it is a refusal.
pub(super) fn is_refusal(function: u8) -> bool {
    function & REFUSED != 0
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameFault::NotModbus => f.write_str(
                "what answers there does not speak Modbus/TCP; check the port, and whether it is a serial server, \
                 which link type slowd reaches",
            ),
            FrameFault::Transaction { asked, got } => write!(
                f,
                "the answer has the wrong transaction id, {got} instead of {asked}; the device or a gateway mixes up \
                 its clients"
            ),
            FrameFault::Unit { asked, got } => write!(
                f,
                "unit {got} answered instead of unit {asked}: a wrong unit id, or two devices on the line talk at once"
            ),
            FrameFault::Function { asked, got } => {
                write!(f, "the answer is to function {got}, not to function {asked} that was asked for")
            }
            FrameFault::Length { asked, got } => {
                write!(f, "the answer has a wrong length: {got} bytes where {asked} bytes of registers were asked for")
            }
            FrameFault::Crc => f.write_str(
                "the answer has a bad checksum (CRC): check speed, parity and stop bits, the wires A and B, the line's \
                 termination, and whether another master uses it",
            ),
            FrameFault::Short { got, of } => {
                write!(f, "the answer is too short: it stops after {got} of {of} bytes")
            }
            FrameFault::Endless => f.write_str(
                "bytes come without end and make no Modbus answer: something else talks there, or the speed is wrong",
            ),
        }
    }
}

impl std::error::Error for FrameFault {}

/// An exception code in words (7).
pub fn exception(code: u8) -> &'static str {
    match code {
        0x01 => "illegal function",
        0x02 => "illegal data address",
        0x03 => "illegal data value",
        0x04 => "device failure",
        0x05 => "acknowledged, still working",
        0x06 => "device busy",
        0x08 => "memory parity error",
        0x0a => "gateway path unavailable",
        0x0b => "gateway target does not respond",
        _ => "an exception that the standard does not name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pdu: &[u8], expect: Result<Reply, FrameFault>) {
        let ask = Ask { unit: 1, table: Table::Holding, address: 40000, count: 2 };
        assert_eq!(ask.answer(pdu), expect);
    }

    #[test]
    fn a_request_is_that_of_the_standard() {
        // The example of 6.3: registers 108 to 110, which are 107 to 109 on the wire.
        let ask = Ask { unit: 1, table: Table::Holding, address: 107, count: 3 };
        assert_eq!(ask.pdu(), [3, 0x00, 0x6b, 0x00, 0x03]);
        assert_eq!(Ask { table: Table::Input, ..ask }.pdu()[0], 4);
    }

    #[test]
    fn answers_are_registers_or_refusals_and_nothing_else() {
        check(&[3, 4, 0x53, 0x75, 0x6e, 0x53], Ok(Reply::Registers(vec![0x5375, 0x6e53])));
        check(&[0x83, 11], Ok(Reply::Exception(11)));
        let length = |got| Err(FrameFault::Length { asked: 4, got });
        check(&[3, 6, 1, 2, 3, 4, 5, 6], length(6));
        check(&[3, 4, 1, 2, 3], length(3));
        check(&[3], length(1));
        check(&[0x83, 1, 2], length(3));
        check(&[], length(0));
        check(&[4, 4, 1, 2, 3, 4], Err(FrameFault::Function { asked: 3, got: 4 }));
        check(&[0x90, 1], Err(FrameFault::Function { asked: 3, got: 0x90 }));
    }

    #[test]
    fn the_largest_answer_is_read_whole() {
        let ask = Ask { unit: 1, table: Table::Input, address: 0, count: MAX_REGISTERS };
        let mut pdu = vec![4, 250];
        pdu.extend((0..MAX_REGISTERS).flat_map(u16::to_be_bytes));
        assert_eq!(ask.answer(&pdu), Ok(Reply::Registers((0..MAX_REGISTERS).collect())));
    }
}
