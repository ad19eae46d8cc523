// Package absent says that something is not in this build.
package absent

import (
	"errors"
	"net/http"
)

// Err is what every absent part says when it is asked for.
var Err = errors.New("this build of Prometheus for Siskin's tests leaves this part out, see tools/servers")

// Handler answers that the endpoint is not in this build.
func Handler(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, Err.Error(), http.StatusNotImplemented)
}
