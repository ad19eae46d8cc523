package proxy

import (
	"net"
	"sync"
	"time"
)

// Trouble is what goes wrong with the connections of a Service.
type Trouble struct {
	// Delay holds back everything that the Service answers, each piece for so long.
	Delay time.Duration
	// Refuse refuses connections; those that are open when it begins are cut.
	Refuse bool
}

// troubles of Services, by namespace/name. A test hampers one client of the API server by the Service that only pods use.
type troubles struct {
	mu    sync.Mutex
	by    map[string]Trouble
	conns map[net.Conn]string
}

func (t *troubles) of(namespace, service string) Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[namespace+"/"+service]
}

// track remembers an open connection until done is called.
func (t *troubles) track(namespace, service string, conn net.Conn) (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		t.conns = map[net.Conn]string{}
	}
	t.conns[conn] = namespace + "/" + service
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.conns, conn)
	}
}

// slow wraps the connection to an endpoint.
func (t *troubles) slow(namespace, service string, up net.Conn) net.Conn {
	return &slowConn{Conn: up, delay: func() time.Duration { return t.of(namespace, service).Delay }}
}

type slowConn struct {
	net.Conn
	delay func() time.Duration
}

func (c *slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if d := c.delay(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		<-t.C
	}
	return n, err //nolint:wrapcheck // a net.Conn
}

// CloseWrite ends one direction.
func (c *slowConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite() //nolint:wrapcheck // a net.Conn
	}
	return c.Close()
}

// SetTrouble makes something go wrong with a Service; the zero Trouble ends it.
func (s *Services) SetTrouble(namespace, service string, trouble Trouble) {
	t := &s.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[string]Trouble{}
	}
	t.by[namespace+"/"+service] = trouble
	if !trouble.Refuse {
		return
	}
	for conn, of := range t.conns {
		if of == namespace+"/"+service {
			reset(conn)
		}
	}
}
