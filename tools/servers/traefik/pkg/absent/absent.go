// Package absent says that something is not in this build.
package absent

import "errors"

// Err is what every absent part says when it is asked for.
var Err = errors.New("this build of Traefik for Siskin's tests leaves this part out, see tools/servers")
