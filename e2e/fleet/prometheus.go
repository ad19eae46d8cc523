package fleet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// ServePrometheus answers every query with a value that is good: 100 for a success rate, 50 for a duration. It returns the port on
// 127.0.0.1 and ends with ctx.
func ServePrometheus(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("listening: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value := "100"
		if strings.Contains(r.FormValue("query"), "histogram_quantile") {
			value = "50"
		}
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.FormValue("query"), "count(resets(") { // which share reached the canary: nobody sends requests
			_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,%q]}]}}`, time.Now().Unix(), value)
	})}
	go func() { _ = srv.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("listening on %s", l.Addr())
	}
	return addr.Port, nil
}
