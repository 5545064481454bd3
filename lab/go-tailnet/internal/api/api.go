// Package api is the small part of the Tailscale API that the Kubernetes operator calls: an access token for a client
// with the right secret, auth keys, and the removal of a device. It is a stand-in for tests: one token, no expiry.
package api

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"log"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const keyLifetime = 90 * 24 * time.Hour

// Credentials of the one OAuth client.
type Credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// Node is a device of the tailnet as GET /lab/nodes tells it.
type Node struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"` // fully qualified, without the last dot
	Addresses []string `json:"addresses"`
	App       string   `json:"app"` // what the device says it is, such as k8s-operator
}

// Tailnet is what the calls act on.
type Tailnet interface {
	Nodes() []Node
	// Delete removes a device; false if there is none of that id.
	Delete(id string) bool
}

// Key is an auth key that was asked for, as GET /lab/keys tells it.
type Key struct {
	ID   string   `json:"id"`
	Tags []string `json:"tags"`
}

type server struct {
	credentials Credentials
	tailnet     Tailnet
	token       string

	mu   sync.Mutex
	keys []Key
}

// Handler answers below /api/ and /lab/. A call that it does not know is logged and answered with 404.
func Handler(credentials Credentials, tailnet Tailnet) http.Handler {
	s := &server{credentials: credentials, tailnet: tailnet, token: rand.Text(), keys: []Key{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/oauth/token", s.newToken)
	mux.HandleFunc("POST /api/v2/tailnet/{tailnet}/keys", s.authorized(s.newKey))
	mux.HandleFunc("DELETE /api/v2/device/{id}", s.authorized(s.deleteDevice))
	mux.HandleFunc("GET /lab/nodes", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, tailnet.Nodes()) })
	mux.HandleFunc("GET /lab/keys", s.listKeys)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		log.Printf("not known: %s %s", r.Method, r.URL.Path)
		refuse(w, http.StatusNotFound, "not found")
	})
	return mux
}

func (s *server) newToken(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if !same(id, s.credentials.ID) || !same(secret, s.credentials.Secret) {
		log.Printf("refused a token to client %q", id)
		refuse(w, http.StatusUnauthorized, "API token invalid")
		return
	}
	reply(w, http.StatusOK, map[string]any{
		"access_token": s.token, "token_type": "Bearer", "expires_in": 3600, "scope": "devices auth_keys",
	})
}

func (s *server) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !same(r.Header.Get("Authorization"), "Bearer "+s.token) {
			refuse(w, http.StatusUnauthorized, "API token invalid")
			return
		}
		log.Printf("%s %s", r.Method, r.URL.Path)
		next(w, r)
	}
}

func (s *server) newKey(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Capabilities struct {
			Devices struct {
				Create struct {
					Reusable      bool     `json:"reusable"`
					Ephemeral     bool     `json:"ephemeral"`
					Preauthorized bool     `json:"preauthorized"`
					Tags          []string `json:"tags"`
				} `json:"create"`
			} `json:"devices"`
		} `json:"capabilities"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	key := Key{ID: "klab" + strconv.Itoa(len(s.keys)+1), Tags: asked.Capabilities.Devices.Create.Tags}
	s.keys = append(s.keys, key)
	s.mu.Unlock()
	now := time.Now().UTC()
	reply(w, http.StatusOK, map[string]any{
		"id": key.ID, "key": "tskey-auth-" + rand.Text(), "created": now, "expires": now.Add(keyLifetime),
		"capabilities": asked.Capabilities,
	})
}

func (s *server) listKeys(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply(w, http.StatusOK, s.keys)
}

func (s *server) deleteDevice(w http.ResponseWriter, r *http.Request) {
	if !s.tailnet.Delete(r.PathValue("id")) {
		refuse(w, http.StatusNotFound, "no such device")
		return
	}
	reply(w, http.StatusOK, nil)
}

func same(given, wanted string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(wanted)) == 1
}

func refuse(w http.ResponseWriter, code int, message string) {
	reply(w, code, map[string]string{"message": message})
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Printf("answering: %v", err)
	}
}
