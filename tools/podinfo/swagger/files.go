// Package swaggerfiles stands for the pages of Swagger, 34 MB of Go source that Siskin's tests never open.
package swaggerfiles

import "net/http"

// Files serves nothing.
type Files struct{ Prefix string }

// ServeHTTP answers that there is nothing.
func (*Files) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// Handler serves the pages.
var Handler = &Files{}
