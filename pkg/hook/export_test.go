package hook

import (
	"context"
	"net"
	"net/http"
)

// DialForTest makes the client reach everything over dial.
func (c *Client) DialForTest(dial func(context.Context, string, string) (net.Conn, error)) {
	c.verifying.Transport = &http.Transport{DialContext: dial}
}

// CloseForTest ends idle connections.
func (c *Client) CloseForTest() { c.verifying.CloseIdleConnections() }
