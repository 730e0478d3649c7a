# Calls of Mail::IMAPClient's methods, for test_perl_imapclient.py. The first line of stdin has the options of `new`, each
# further one {"call": method, "arguments": [...]}; each is answered with {"result": [what it returns in list context]}
# (an object is 1) or, where that is nothing and there is an error, {"error": ...}.
use strict;
use warnings;
use JSON::PP;
use Mail::IMAPClient;
use Scalar::Util qw(blessed);

$| = 1;
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $client;
while ( my $line = <STDIN> ) {
    my $said = $json->decode($line);
    my @result;
    if ( !$client ) {
        $client = Mail::IMAPClient->new( %$said, Uid => 1 );
        @result = ( $client ? 1 : 0 );
        print $json->encode( { event => "connected", error => $client ? undef : "$@" } ), "\n";
        next;
    }
    my $method = $said->{call};
    $client->LastError("");
    @result = eval { $client->$method( @{ $said->{arguments} } ) };
    my $error = $@ || ( @result && defined $result[0] ? "" : $client->LastError );
    print $json->encode( $error ? { error => "$error" } : { result => [ map { blessed($_) ? 1 : $_ } @result ] } ), "\n";
}
