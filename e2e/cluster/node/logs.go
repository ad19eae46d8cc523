package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// ServeLogs serves the part of the kubelet's API that `kubectl logs` needs, until the context ends.
func (a *Agent) ServeLogs(ctx context.Context, addr, cert, key string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.containerLogs)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for the kubelet API: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ServeTLS(l, cert, key); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a *Agent) containerLogs(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(a.LogFile(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer func() { _ = f.Close() }()
	if n, err := strconv.Atoi(r.URL.Query().Get("tailLines")); err == nil {
		if err := seekTail(f, n); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	_, err = io.Copy(w, f)
	flush := http.NewResponseController(w)
	for r.URL.Query().Get("follow") == "true" && err == nil {
		_ = flush.Flush()
		if sleep(r.Context(), 200*time.Millisecond) != nil {
			return
		}
		_, err = io.Copy(w, f)
	}
}

// seekTail moves to the begin of the last n lines.
func seekTail(f *os.File, n int) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf := make([]byte, 1)
	at := end
	for lines := 0; at > 0; at-- {
		if _, err := f.ReadAt(buf, at-1); err != nil {
			return err
		}
		if buf[0] == '\n' && at != end {
			if lines++; lines == n {
				break
			}
		}
	}
	if n == 0 {
		at = end
	}
	_, err = f.Seek(at, io.SeekStart)
	return err
}
