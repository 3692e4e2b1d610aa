# shellcheck shell=bash disable=SC2154
# template.sh: sourced by kafka.sh. Gives make_template, which leaves $template complete: what all brokers of this machine share.
#
#   tls/ca.pem                    who signed the certificates; foreign-ca.pem did not sign any that a broker trusts
#   tls/NAME.{crt,key}.pem        certificate and key of each role; NAME.pem is both, as a broker wants it
#   secrets/NAME.password         the password of the SCRAM user of that name
#   bootstrap.checkpoint          the formatted storage's first records: those users
#
# Formatting takes longer than copying, so it is done once. The secrets are this machine's own, and only the owner can read them.

# Any 16 bytes in Kafka's own spelling; clusters on loopback need not differ.
kafka_cluster_id=TWlsbHJhY2VUZXN0S2FmMQ

# Who there is: an administrator, the roles of Millrace, people (operator, subscriber), and one who was granted nothing (stranger).
kafka_users=(admin agent process execute sink console operator subscriber stranger)

make_template() {
    local new=$template.new stamp
    stamp=$(cat "$here/kafka/template.sh" "$home/libs/.ok" | sha256sum)
    if [ "$(cat "$template/.ok" 2>/dev/null)" = "$stamp" ]; then return; fi
    command -v openssl >/dev/null || die 2 "needs openssl to make certificates (on Debian: apt-get install openssl)"
    say "making certificates and users for Kafka"
    rm -rf "$new"
    (umask 077 && mkdir -p "$new/tls" "$new/secrets" && make_certificates "$new/tls" && make_users "$new")
    sync -f "$new"
    echo "$stamp" >"$new/.ok"
    rm -rf "$template"
    mv -T "$new" "$template"
}

make_certificates() { # FOLDER
    local folder=$1 user here_names='subjectAltName=DNS:localhost,IP:127.0.0.1'
    new_authority "$folder/ca" "Millrace test authority"
    new_authority "$folder/foreign-ca" "Somebody else"
    new_certificate "$folder/broker" broker "$folder/ca" "$here_names"
    new_certificate "$folder/wrong-host" broker "$folder/ca" 'subjectAltName=DNS:elsewhere.invalid'
    new_certificate "$folder/expired" broker "$folder/ca" "$here_names" past
    for user in "${kafka_users[@]}"; do
        new_certificate "$folder/$user" "$user" "$folder/ca" "$here_names"
    done
    # The role's name, but signed by somebody else, or too old.
    new_certificate "$folder/foreign-agent" agent "$folder/foreign-ca" "$here_names"
    new_certificate "$folder/expired-agent" agent "$folder/ca" "$here_names" past
    rm -f "$folder"/*.csr "$folder"/*.srl "$folder"/*.ext "$folder"/*.index* "$folder"/*.serial* "$folder"/ca.key.pem "$folder"/foreign-ca.key.pem
}

# Elliptic keys are made in milliseconds, which counts when each machine makes its own.
new_key() { # FILE
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

new_authority() { # FILE NAME
    new_key "$1.key.pem"
    openssl req -x509 -new -key "$1.key.pem" -sha256 -days 3650 -subj "/CN=$2" -out "$1.pem" \
        -addext 'keyUsage=critical,keyCertSign,cRLSign'
}

# `past` makes one that ended yesterday. The dates of a certificate can be chosen only with `openssl ca`.
new_certificate() { # FILE NAME AUTHORITY ALTERNATIVE-NAMES [past]
    local file=$1 authority=$3 from to
    from=$(date -u -d '-2 days' +%y%m%d%H%M%SZ)
    to=$(date -u -d '+3650 days' +%Y%m%d%H%M%SZ)
    if [ "${5:-}" = past ]; then to=$(date -u -d '-1 day' +%y%m%d%H%M%SZ); fi
    new_key "$file.key.pem"
    openssl req -new -key "$file.key.pem" -subj "/CN=$2" -out "$file.csr"
    printf '%s\n' "$4" 'extendedKeyUsage=serverAuth,clientAuth' 'keyUsage=critical,digitalSignature' >"$file.ext"
    : >"$file.index"
    printf '[ca]\ndefault_ca=one\n[one]\ndatabase=%s.index\nnew_certs_dir=%s\nrand_serial=yes\npolicy=any\ndefault_md=sha256\n[any]\ncommonName=supplied\n' \
        "$file" "$(dirname "$file")" >"$file.serial"
    openssl ca -batch -notext -config "$file.serial" -cert "$authority.pem" -keyfile "$authority.key.pem" -in "$file.csr" \
        -out "$file.crt.pem" -extfile "$file.ext" -startdate "$from" -enddate "$to" 2>"$file.index.log" || {
        cat "$file.index.log" >&2
        die 2 "openssl could not sign the certificate of $2"
    }
    # `openssl ca` keeps a second copy under the serial number.
    rm -f "$(dirname "$file")"/[0-9A-F]*[0-9A-F].pem
    cat "$file.key.pem" "$file.crt.pem" >"$file.pem"
}

# The passwords go to the tool in a file: arguments can be read by everybody on the machine.
make_users() { # FOLDER
    local folder=$1 user scratch=$1/format
    mkdir -p "$scratch"
    printf '%s\n' format --cluster-id "$kafka_cluster_id" --config "$scratch/one.properties" >"$scratch/arguments"
    for user in "${kafka_users[@]}"; do
        # 32 hexadecimal digits: 128 bits, and nothing that a list of options would read as more than a letter.
        head -c 16 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$folder/secrets/$user.password"
        printf '%s\n' --add-scram "SCRAM-SHA-512=[name=$user,password=$(cat "$folder/secrets/$user.password")]" >>"$scratch/arguments"
    done
    printf '%s\n' process.roles=broker,controller node.id=1 "log.dirs=$scratch/data" controller.quorum.voters=1@127.0.0.1:1 \
        controller.listener.names=CONTROLLER listeners=CONTROLLER://127.0.0.1:1,PLAIN://127.0.0.1:2 \
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT inter.broker.listener.name=PLAIN >"$scratch/one.properties"
    java_tool kafka.tools.StorageTool @"$scratch/arguments" >"$scratch/log" 2>&1 || {
        cat "$scratch/log" >&2
        die 2 "Kafka's storage could not be formatted; the lines above are its tool's"
    }
    mv "$scratch/data/bootstrap.checkpoint" "$folder/"
    rm -rf "$scratch"
}
