package corpus

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Port returns a port that is free at a loopback address, and keeps it free
// for a server that the test starts: a socket stays bound to it and never
// listens, so the kernel gives the port to nobody who asks for any, while a
// server that asks for this one with SO_REUSEADDR, as servers do, gets it.
func Port(t testing.TB, address string) int {
	t.Helper()
	ip := net.ParseIP(address).To4()
	if ip == nil {
		t.Fatalf("%q is no IPv4 address", address)
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte(ip)}); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return own.(*syscall.SockaddrInet4).Port
}

// startup is how long a server may take until it admits its users.
const startup = time.Minute

// Greeted waits until a server that is starting greets its clients.
func Greeted(address string) error {
	return await(address, func(net.Conn, *bufio.Reader) error { return nil })
}

// Admitted waits until a server that is starting lets a user log in. That it
// greets is not enough where what looks up the users comes up later.
func Admitted(address, user, password string) error {
	return await(address, func(conn net.Conn, in *bufio.Reader) error {
		if _, err := fmt.Fprintf(conn, "A LOGIN %s %s\r\n", quote(user), quote(password)); err != nil {
			return err
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil || strings.HasPrefix(line, "A OK") {
				return err
			}
			if strings.HasPrefix(line, "A ") {
				return errors.New(strings.TrimSpace(line))
			}
		}
	})
}

// await tries until a client that was greeted has what it wants.
func await(address string, greeted func(net.Conn, *bufio.Reader) error) error {
	deadline := time.Now().Add(startup)
	try := func() error {
		conn, err := net.DialTimeout("tcp", address, startup)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
		in := bufio.NewReader(conn)
		if _, err := in.ReadString('\n'); err != nil {
			return err
		}
		return greeted(conn, in)
	}
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond) // nothing tells when it is ready
	}
}
