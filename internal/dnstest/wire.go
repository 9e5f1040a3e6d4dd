package dnstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// The types of records that the server knows. They are DNS's own numbers.
const (
	TypeA     = 1
	TypeCNAME = 5
	TypeSOA   = 6 // in negative answers only
	TypeAAAA  = 28
	TypeSRV   = 33
)

// The response codes that the server gives.
const (
	formErr  = 1
	servFail = 2
	nxDomain = 3
	refused  = 5
)

const (
	headerSize = 12
	classIN    = 1

	// Bits of the second word of the header.
	bitResponse  = 1 << 15
	bitAuthority = 1 << 10
	bitTruncated = 1 << 9
	bitRecursion = 1 << 8 // desired; echoed
)

// A Record is one resource record without its owner. The funcs Addr, CNAME and
// SRV make them.
type Record struct {
	// Type is one of the numbers above, TTL the time to live in seconds.
	Type uint16
	TTL  uint32

	data []byte // as on the wire
}

// Addr makes an address record: A, or AAAA for an IPv6 address. What is no
// address makes a record that no resolver understands.
func Addr(ip string) Record {
	addr, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return Record{Type: TypeA}
	case addr.Is6():
		return Record{Type: TypeAAAA, data: addr.AsSlice()}
	}
	return Record{Type: TypeA, data: addr.AsSlice()}
}

// CNAME makes a record that says that its owner is another name for target.
func CNAME(target string) Record {
	return Record{Type: TypeCNAME, data: appendName(nil, target)}
}

// SRV makes a record of one instance of a service.
func SRV(priority, weight, port uint16, target string) Record {
	var b []byte
	for _, n := range []uint16{priority, weight, port} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return Record{Type: TypeSRV, data: appendName(b, target)}
}

// appendName appends a domain name on the wire. Labels that are too long are
// cut: a test that wants them would use raw bytes.
func appendName(b []byte, name string) []byte {
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label != "" {
			label = label[:min(len(label), 63)]
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}

// query is what a client asks.
type query struct {
	id     uint16
	flags  uint16
	name   string // lower case, with the trailing dot
	typ    uint16
	asked  []byte // the question section as it came, for the answer
	extend bool   // there is an OPT record, so the client takes large packets
}

var errQuery = errors.New("dnstest: not a query of one question")

// parseQuery reads a query. A query has no reason to compress the one name in
// it, so pointers are refused.
func parseQuery(b []byte) (query, error) {
	if len(b) < headerSize {
		return query{}, errQuery
	}
	q := query{id: binary.BigEndian.Uint16(b), flags: binary.BigEndian.Uint16(b[2:])}
	if q.flags&bitResponse != 0 || binary.BigEndian.Uint16(b[4:]) != 1 {
		return query{}, errQuery
	}
	q.extend = binary.BigEndian.Uint16(b[10:]) > 0
	rest := b[headerSize:]
	var name strings.Builder
	for {
		if len(rest) == 0 || rest[0] > 63 || len(rest) < 1+int(rest[0]) {
			return query{}, errQuery
		}
		n := int(rest[0])
		label := rest[1 : 1+n]
		rest = rest[1+n:]
		if n == 0 {
			break
		}
		name.WriteString(strings.ToLower(string(label)) + ".")
	}
	if len(rest) < 4 || binary.BigEndian.Uint16(rest[2:]) != classIN {
		return query{}, fmt.Errorf("%w: class is not IN", errQuery)
	}
	q.name, q.typ = name.String(), binary.BigEndian.Uint16(rest)
	if q.name == "" {
		q.name = "."
	}
	q.asked = b[headerSize : len(b)-len(rest)+4]
	return q, nil
}

// owned is a record with its owner.
type owned struct {
	owner string
	Record
}

// reply builds an answer. The SOA that a negative answer should have, so that it
// can be cached, is left out when there is no zone.
func (q *query) reply(code, bits uint16, answers []owned, soa string) []byte {
	authorities := uint16(0)
	if soa != "" {
		authorities = 1
	}
	b := binary.BigEndian.AppendUint16(nil, q.id)
	b = binary.BigEndian.AppendUint16(b, bitResponse|bitAuthority|q.flags&bitRecursion|bits|code)
	for _, n := range []uint16{1, uint16(len(answers)), authorities, 0} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	b = append(b, q.asked...)
	for _, r := range answers {
		b = q.appendRecord(b, r)
	}
	if soa != "" {
		b = q.appendRecord(b, owned{soa, Record{Type: TypeSOA, data: soaData(soa)}})
	}
	return b
}

// appendRecord appends a record. An owner that is the question is a pointer to
// it, as in every real answer; other names are written out.
func (q *query) appendRecord(b []byte, r owned) []byte {
	if r.owner == q.name {
		b = append(b, 0xc0, headerSize)
	} else {
		b = appendName(b, r.owner)
	}
	b = binary.BigEndian.AppendUint16(b, r.Type)
	b = binary.BigEndian.AppendUint16(b, classIN)
	b = binary.BigEndian.AppendUint32(b, r.TTL)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.data)))
	return append(b, r.data...)
}

// soaData is a start of authority that lets nobody cache anything.
func soaData(zone string) []byte {
	b := appendName(appendName(nil, "ns."+zone), "hostmaster."+zone)
	for range 5 { // serial, refresh, retry, expire, minimum
		b = binary.BigEndian.AppendUint32(b, 0)
	}
	return b
}
