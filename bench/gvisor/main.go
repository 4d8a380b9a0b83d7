// gvisor_http is an HTTP responder on gVisor's netstack over a TUN device: its endpoints as its
// sandbox uses them, a goroutine for each connection, SACK, CUBIC, buffers that grow, TIME_WAIT of
// 60 s.
//
//	gvisor_http --tun NAME --address A --port P [--busy-poll MICROSECONDS]
//
// The device is there already (`ip tuntap add dev NAME mode tun`). Netstack sends a FIN by itself,
// so an answer to "Connection: close" takes two segments. By default netstack's own link endpoint
// reads the device; with --busy-poll a loop of ours does, which gives it the packets the same way.
// Its adapter to Go's net package, gonet, is left out: it makes several objects for each call and
// logs a line for each connection that a peer has closed. Threads are Go's: GOMAXPROCS stays,
// taskset decides.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/bufferv2"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/link/tun"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	nicID           = 1
	backlog         = 4096
	mtuBytes        = 1500
	requestBytesMax = 8192

	bufferBytesMin     = 4 << 10
	bufferBytesDefault = 256 << 10
	bufferBytesMax     = 8 << 20
)

var (
	endOfHead  = []byte("\r\n\r\n")
	closeAsked = []byte("\r\nConnection: close\r\n")
	answerKept = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" +
		"Content-Length: 14\r\n\r\nHello, world!\n")
	answerLast = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" +
		"Content-Length: 14\r\nConnection: close\r\n\r\nHello, world!\n")
)

type options struct {
	tun      string
	address  net.IP
	port     uint16
	busyPoll time.Duration
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "gvisor_http: "+format+"\n", values...)
	os.Exit(1)
}

func parseOptions() options {
	device := flag.String("tun", "", "the TUN device's `name`")
	address := flag.String("address", "", "own IPv4 `address`")
	port := flag.Int("port", 0, "`port` to serve")
	busyPollUs := flag.Int("busy-poll", 0, "`microseconds` to ask the device before sleeping")
	flag.Parse()
	own := net.ParseIP(*address).To4()
	switch {
	case *device == "":
		fail("no TUN device is named: give --tun NAME.")
	case own == nil:
		fail("'%s' is no IPv4 address: give --address A.", *address)
	case *port < 1 || *port > 65535:
		fail("%d is no port: give --port P of 1 to 65535.", *port)
	case *busyPollUs < 0 || *busyPollUs > 1000000:
		fail("--busy-poll takes 0 to 1000000 microseconds, not %d.", *busyPollUs)
	case flag.NArg() > 0:
		fail("'%s' is no flag; see --help.", flag.Arg(0))
	}
	return options{*device, own, uint16(*port), time.Duration(*busyPollUs) * time.Microsecond}
}

func check(err tcpip.Error, what string) {
	if err != nil {
		fail("netstack does not take %s: %s.", what, err)
	}
}

func newStack(link stack.LinkEndpoint, address tcpip.Address) *stack.Stack {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, icmp.NewProtocol4,
		},
	})
	sack := tcpip.TCPSACKEnabled(true)
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack), "SACK")
	cubic := tcpip.CongestionControlOption("cubic")
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &cubic), "CUBIC")
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate), "growing receive buffers")
	receive := tcpip.TCPReceiveBufferSizeRangeOption{
		Min: bufferBytesMin, Default: bufferBytesDefault, Max: bufferBytesMax}
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &receive), "sizes of receive buffers")
	send := tcpip.TCPSendBufferSizeRangeOption{
		Min: bufferBytesMin, Default: bufferBytesDefault, Max: bufferBytesMax}
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &send), "sizes of send buffers")
	check(s.CreateNIC(nicID, link), "the TUN device")
	own := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: address.WithPrefix(),
	}
	check(s.AddProtocolAddress(nicID, own, stack.AddressProperties{}), "the address")
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	return s
}

// pollDevice gives netstack what the device has and asks it for `spin` after its last packet before
// it sleeps.
func pollDevice(fd int, link *fdbased.InjectableEndpoint, spin time.Duration) {
	runtime.LockOSThread()
	last := time.Now()
	packet := make([]byte, mtuBytes)
	for {
		size, err := unix.Read(fd, packet)
		if err == nil && size > 0 {
			view := bufferv2.NewViewWithData(packet[:size])
			delivered := stack.NewPacketBuffer(
				stack.PacketBufferOptions{Payload: bufferv2.MakeWithView(view)})
			link.InjectInbound(ipv4.ProtocolNumber, delivered)
			delivered.DecRef()
			last = time.Now()
			continue
		}
		if err != nil && err != unix.EAGAIN && err != unix.EINTR {
			fail("the TUN device is gone: %v.", err)
		}
		if time.Since(last) < spin {
			// Goroutines that this burst made runnable may share the core with us.
			runtime.Gosched()
			continue
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		unix.Poll(fds, -1)
		last = time.Now()
	}
}

func openDevice(wanted options) (int, stack.LinkEndpoint, *fdbased.InjectableEndpoint) {
	fd, err := tun.Open(wanted.tun)
	if err != nil {
		fail("the TUN device %s cannot be attached to (%v): make it by "+
			"`ip tuntap add dev %s mode tun`.", wanted.tun, err, wanted.tun)
	}
	if wanted.busyPoll > 0 {
		link, err := fdbased.NewInjectable(fd, mtuBytes, 0)
		if err != nil {
			fail("netstack does not write to the TUN device: %v.", err)
		}
		return fd, link, link
	}
	link, err := fdbased.New(&fdbased.Options{FDs: []int{fd}, MTU: mtuBytes})
	if err != nil {
		fail("netstack does not serve the TUN device: %v.", err)
	}
	return fd, link, nil
}

func blocks(err tcpip.Error) bool {
	_, yes := err.(*tcpip.ErrWouldBlock)
	return yes
}

// connection is an endpoint with a channel that says when to try again.
type connection struct {
	endpoint tcpip.Endpoint
	ready    chan struct{}
}

// read returns 0 when there is nothing more to come.
func (c *connection) read(into []byte) int {
	for {
		room := tcpip.SliceWriter(into)
		result, err := c.endpoint.Read(&room, tcpip.ReadOptions{})
		if err == nil {
			c.endpoint.ModerateRecvBuf(result.Count)
			return result.Count
		}
		if !blocks(err) {
			return 0
		}
		<-c.ready
	}
}

func (c *connection) write(text []byte) bool {
	var rest bytes.Reader
	rest.Reset(text)
	for rest.Len() > 0 {
		if _, err := c.endpoint.Write(&rest, tcpip.WriteOptions{}); err == nil {
			continue
		} else if !blocks(err) {
			return false
		}
		<-c.ready
	}
	return true
}

// answer answers whole requests at the front of the buffer and returns what is left of it.
func (c *connection) answer(buffer []byte) (rest []byte, open bool) {
	for {
		at := bytes.Index(buffer, endOfHead)
		if at < 0 {
			return buffer, true
		}
		end := at + len(endOfHead)
		last := bytes.Contains(buffer[:end], closeAsked)
		text := answerKept
		if last {
			text = answerLast
		}
		if !c.write(text) || last {
			return nil, false
		}
		buffer = buffer[end:]
	}
}

// serve answers requests, without bodies, until the peer or a request ends the connection.
func serve(endpoint tcpip.Endpoint, queue *waiter.Queue) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.WritableEvents)
	queue.EventRegister(&entry)
	defer endpoint.Close()
	defer queue.EventUnregister(&entry)
	c := connection{endpoint, ready}
	buffer := make([]byte, 512)
	filled := 0
	for {
		size := c.read(buffer[filled:])
		if size == 0 {
			return
		}
		filled += size
		rest, open := c.answer(buffer[:filled])
		if !open {
			return
		}
		filled = copy(buffer, rest)
		if filled < len(buffer) {
			continue
		}
		if filled >= requestBytesMax {
			return
		}
		buffer = append(buffer, make([]byte, len(buffer))...)
	}
}

func listen(s *stack.Stack, at tcpip.FullAddress) (tcpip.Endpoint, *waiter.Queue) {
	queue := new(waiter.Queue)
	endpoint, err := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, queue)
	check(err, "a listener")
	check(endpoint.Bind(at), "the address and the port")
	check(endpoint.Listen(backlog), "a backlog")
	return endpoint, queue
}

func acceptAll(listener tcpip.Endpoint, queue *waiter.Queue) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	queue.EventRegister(&entry)
	for {
		endpoint, itsQueue, err := listener.Accept(nil)
		switch {
		case err == nil:
			go serve(endpoint, itsQueue)
		case blocks(err):
			<-ready
		default:
			fail("netstack's listener ended: %s.", err)
		}
	}
}

func main() {
	wanted := parseOptions()
	address := tcpip.Address(wanted.address)
	fd, link, polled := openDevice(wanted)
	s := newStack(link, address)
	listener, queue := listen(s, tcpip.FullAddress{NIC: nicID, Addr: address, Port: wanted.port})
	if polled != nil {
		go pollDevice(fd, polled, wanted.busyPoll)
	}
	go acceptAll(listener, queue)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready")
	<-signals
}
