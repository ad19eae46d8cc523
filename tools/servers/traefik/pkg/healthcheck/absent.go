package healthcheck

import (
	"context"
	"net/url"

	"github.com/traefik/traefik/v3/pkg/absent"
)

func (*ServiceHealthChecker) checkHealthGRPC(context.Context, *url.URL) error { return absent.Err }
